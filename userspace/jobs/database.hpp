// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "io/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace towline {

// One prepared statement while it is used: bound from 1 on, read from column 0 on.
class Statement {
  public:
    explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
    Statement(const Statement&) = delete;
    Statement& operator=(const Statement&) = delete;
    Statement(Statement&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
    Statement& operator=(Statement&&) = delete;
    ~Statement();

    Statement& bind(std::string_view text);
    Statement& bind(std::int64_t number);

    // True: there is a row. False: it has ended.
    Result<bool> step();
    Status run();  // to its end, no row wanted
    std::string text(int column) const;
    std::int64_t number(int column) const;

  private:
    sqlite3_stmt* statement_;
    int bound_ = 0;
    bool failed_ = false;  // to bind
};

// A SQLite file: WAL, every commit on disk before it returns. One thread at a time.
class Database {
  public:
    static Result<Database> open(const std::filesystem::path& path);

    Result<Statement> prepare(std::string_view sql);
    // Several statements without values.
    Status execute(const char* sql);

  private:
    struct Close {
        void operator()(sqlite3* database) const;
    };
    explicit Database(sqlite3* database) : database_(database) {}
    std::unique_ptr<sqlite3, Close> database_;
};

// Undone unless it was committed.
class Transaction {
  public:
    static Result<Transaction> begin(Database& database);
    Transaction(Transaction&& other) noexcept
        : database_(std::exchange(other.database_, nullptr)) {}
    Transaction& operator=(Transaction&&) = delete;
    Transaction(const Transaction&) = delete;
    Transaction& operator=(const Transaction&) = delete;
    ~Transaction();

    Status commit();

  private:
    explicit Transaction(Database& database) : database_(&database) {}
    Database* database_;
};

}  // namespace towline
