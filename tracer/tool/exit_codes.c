/* SPDX-License-Identifier: MIT */
#include "tracer/tool/exit_codes.h"

#include <stddef.h>

int exit_code_of(const struct outcome *outcome)
{
    if (outcome->by_signal)
        return EXIT_SIGNAL_BASE + outcome->status;
    if (outcome->status != 0)
        return outcome->status;
    if (outcome->tool_failed)
        return EXIT_TOOL_FAILED;
    if (!outcome->checked)
        return EXIT_NOT_CHECKED;
    if (outcome->error_exitcode == 0)
        return EXIT_OK;
    if (outcome->leaks)
        return outcome->error_exitcode;
    return outcome->child_not_checked ? EXIT_NOT_CHECKED : EXIT_OK;
}

bool exit_code_is_usable(long code)
{
    return code >= 1 && code <= 255 && code != EXIT_NOT_CHECKED &&
           !(code >= EXIT_TOOL_FAILED && code <= EXIT_SIGNAL_BASE);
}

static const struct exit_text texts[] = {
    {"0", "the program ended with 0; nothing that a gate asks for was found"},
    {"N", "the program's own exit code, whatever was found"},
    {"128+N", "the program was ended by signal N"},
    {"--error-exitcode", "the program ended with 0, and it or a child has unsuppressed lost or cycle blocks"},
    {"120", "not checked: the program ended with 0, but nobody can say that it does not leak"},
    {"125", "heaptally itself failed: wrong usage, a file that cannot be read or written"},
    {"126",
     "the program cannot be run or recorded (static, set-uid, other architecture); it was not started"},
    {"127", "there is no such program"},
};

const struct exit_text *exit_text_at(unsigned row)
{
    return row < sizeof(texts) / sizeof(texts[0]) ? &texts[row] : NULL;
}
