// SPDX-License-Identifier: Apache-2.0
// The handles of SQLite, each with an owner, and its errors as ours.

#include "userspace/jobs/database.hpp"

#include <sqlite3.h>

namespace towline {

namespace {

constexpr int kBusyMs = 5000;

Error error_of(sqlite3* database, const std::string& what) {
    const int code = sqlite3_errcode(database);
    const std::string text = what + ": " + sqlite3_errmsg(database);
    switch (code & 0xff) {
        case SQLITE_FULL:
            return {Code::kNoSpace, ENOSPC, text};
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return {Code::kCorrupt, 0, text};
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
            return {Code::kBusy, 0, text};
        default:
            return {Code::kIo, sqlite3_system_errno(database), text};
    }
}

}  // namespace

Statement::~Statement() {
    sqlite3_finalize(statement_);
}

Statement& Statement::bind(std::string_view text) {
    failed_ |= sqlite3_bind_text64(statement_, ++bound_, text.data(), text.size(), SQLITE_TRANSIENT,
                                   SQLITE_UTF8) != SQLITE_OK;
    return *this;
}

Statement& Statement::bind(std::int64_t number) {
    failed_ |= sqlite3_bind_int64(statement_, ++bound_, number) != SQLITE_OK;
    return *this;
}

Result<bool> Statement::step() {
    sqlite3* database = sqlite3_db_handle(statement_);
    if (failed_) return std::unexpected(error_of(database, "cannot bind a value"));
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return std::unexpected(error_of(database, "the state file"));
}

Status Statement::run() {
    while (TRY(step())) {
    }
    return {};
}

std::string Statement::text(int column) const {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    if (text == nullptr) return {};
    return {text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::int64_t Statement::number(int column) const {
    return sqlite3_column_int64(statement_, column);
}

void Database::Close::operator()(sqlite3* database) const {
    sqlite3_close(database);
}

Result<Database> Database::open(const std::filesystem::path& path) {
    sqlite3* handle = nullptr;
    const int code = sqlite3_open_v2(
        path.c_str(), &handle,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE,
        nullptr);
    Database database(handle);
    if (code != SQLITE_OK) return std::unexpected(error_of(handle, "cannot open " + path.string()));
    sqlite3_busy_timeout(handle, kBusyMs);
    TRY_STATUS(
        database.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                         "PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF;"));
    return database;
}

Result<Statement> Database::prepare(std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(database_.get(), sql.data(), static_cast<int>(sql.size()), &statement,
                           nullptr) != SQLITE_OK)
        return std::unexpected(error_of(database_.get(), "the state file"));
    return Statement(statement);
}

Status Database::execute(const char* sql) {
    if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) return {};
    return std::unexpected(error_of(database_.get(), "the state file"));
}

Result<Transaction> Transaction::begin(Database& database) {
    TRY_STATUS(database.execute("BEGIN IMMEDIATE"));
    return Transaction(database);
}

Transaction::~Transaction() {
    // After an error SQLite may have undone it already; that this fails then changes nothing.
    if (database_ != nullptr) static_cast<void>(database_->execute("ROLLBACK"));
}

Status Transaction::commit() {
    TRY_STATUS(database_->execute("COMMIT"));
    database_ = nullptr;
    return {};
}

}  // namespace towline
