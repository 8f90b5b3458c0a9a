/* SPDX-License-Identifier: MIT */
/*
 * leaky.c - a small program for the demo: an address book that loses a list and three friends who know each other.
 *
 *    forget_list():    head --> entry --> entry --> entry      the head's only pointer goes away: one leak of four
 *    forget_friends(): ann --> bob --> eve --> ann             nobody else knows them: one cycle of three
 *    keep_book():      the global `book` holds what it holds: no leak
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char *name;
    struct entry *next;
};

struct person {
    char name[16];
    struct person *friend;
    long age;
};

static struct entry *book;

/* Kept out of line, as functions of a larger program would be, so that the report shows each. */
#define OUT_OF_LINE __attribute__((noinline))

OUT_OF_LINE static struct entry *add_entry(struct entry *next, const char *name)
{
    struct entry *e = malloc(sizeof(*e));

    if (!e)
        abort();
    e->name = strdup(name);
    e->next = next;
    return e;
}

OUT_OF_LINE static struct person *new_person(const char *name, long age)
{
    struct person *p = calloc(1, sizeof(*p));

    if (!p)
        abort();
    strncpy(p->name, name, sizeof(p->name) - 1);
    p->age = age;
    return p;
}

OUT_OF_LINE static void keep_book(void)
{
    for (int i = 0; i < 1000; i++)
        book = add_entry(book, "somebody who is remembered");
}

OUT_OF_LINE static void forget_list(void)
{
    struct entry *list = NULL;

    for (int i = 0; i < 4; i++)
        list = add_entry(list, "somebody who is forgotten");
    printf("a list that begins with %s\n", list->name);
}

OUT_OF_LINE static void forget_friends(void)
{
    struct person *ann = new_person("Ann", 31), *bob = new_person("Bob", 32), *eve = new_person("Eve", 33);

    ann->friend = bob;
    bob->friend = eve;
    eve->friend = ann;
    printf("%s knows %s knows %s knows %s\n", ann->name, bob->name, eve->name, eve->friend->name);
}

int main(void)
{
    keep_book();
    forget_list();
    forget_friends();
    puts("done");
    return 0;
}
