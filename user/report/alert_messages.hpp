// What sinks are told, as JSON. Pure.
#pragma once

#include <string>
#include <vector>

#include "analyze/alerts.hpp"
#include "report/report.hpp"

namespace memtrace {

/// {"schema":"memtrace.alerts/1","time":...,"host":...,"process":{...},"alerts":[...]}: all that is new of a process at once. The
/// alerts are as in the snapshot JSON.
std::string alert_message(const Report& report, const std::string& host, const std::vector<Alert>& alerts);

/// The body of Alertmanager's POST /api/v2/alerts. What fires is taken for resolved at `until_unix_ns`, unless told again.
std::string alertmanager_message(const Report& report, const std::string& host, const std::vector<Alert>& alerts,
                                 std::uint64_t until_unix_ns);

/// Of a line of the log, as syslog has them.
int log_priority(const Alert& alert);

/// For the log: `firing leak-definite (critical) of lightningd (pid 12): cursor_create is a definite leak ...`. Without control
/// characters.
std::string alert_line(const Alert& alert);

} // namespace memtrace
