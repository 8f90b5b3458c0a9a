/* SPDX-License-Identifier: MIT */
/*
 * main.c - nothing but main: the unit tests link all other files.
 */
#include <fcntl.h>
#include <unistd.h>

#include "tracer/tool/commands.h"

/* Whoever closed 0, 1 or 2 must not get our socket or our recording there. Close-on-exec, so that the program
 * finds them as closed as we did. */
static void fill_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

int main(int argc, char **argv)
{
    fill_standard_descriptors();
    return commands_main(argc, argv);
}
