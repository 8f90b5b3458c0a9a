// SPDX-License-Identifier: MIT
// Wrong deletes: of what was deleted, of the middle of a block, of the stack.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

template <typename T> static T *hidden(T *p)
{
    __asm__ volatile("" : "+r"(p) : : "memory");
    return p;
}

int main(int count, char **arguments)
{
    const char *crime = count == 2 ? arguments[1] : "";
    if (strcmp(crime, "double_delete") == 0) {
        int *p = new int(1);
        operator delete(p);
        operator delete(hidden(p));
    } else if (strcmp(crime, "delete_interior") == 0) {
        char *p = new char[100];
        operator delete[](hidden(p + 8));
    } else if (strcmp(crime, "delete_stack") == 0) {
        char words[64];
        operator delete(hidden(words + 16), 8);
    } else if (strcmp(crime, "free_of_new") == 0) {
        free(hidden(new int[10]));
    } else if (strcmp(crime, "delete_of_calloc") == 0) {
        operator delete(hidden(calloc(4, 10)));
    } else if (strcmp(crime, "all_in_order") == 0) {
        delete hidden(new int);
        delete[] hidden(new int[10]);
        free(hidden(malloc(10)));
        operator delete(hidden(malloc(10))); // may be somebody's own operator new: not sure, not told
    } else {
        return 2;
    }
    puts("went on");
}
