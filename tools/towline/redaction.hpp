// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace towline {

// Takes out of the daemon's answers what is its owner's: names, paths, addresses, words of people.
// Each becomes a word that stands for it everywhere ("name-3"), so that what belongs together is
// still seen to. What it does not know to be harmless it takes out.
class Redaction {
  public:
    // First all that there is, so that what is a name in one place is found in every other.
    void learn(const nlohmann::json& document) { learn(document, ""); }
    nlohmann::json redacted(const nlohmann::json& document) { return redacted(document, ""); }
    // Of what people read: word by word.
    std::string text(std::string_view words);

  private:
    void learn(const nlohmann::json& value, const std::string& key);
    nlohmann::json redacted(const nlohmann::json& value, const std::string& key);
    std::string word(const std::string& word);
    const std::string& stand_in(const std::string& kind, const std::string& value);

    std::map<std::string, std::string, std::less<>> known_;
    std::map<std::string, unsigned> counts_;
};

}  // namespace towline
