/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A command of wlagent.  One table row serves the parser, --help and completion alike.
 *
 * Ownership: everything in a row is static; arguments point into argv.
 * Threads:   wlagent has one.
 */

#include <stdio.h>

#include "cli/invocation.h"

#define COMMAND_OPTIONS_MAX 16u

struct command_option {
        const char *name;
        const char *value; /* what --help calls its value; NULL: a switch */
        const char *help;
};

/* A short form of an option besides its name. */
struct command_letter {
        char letter;
        int option; /* its place in the table */
};

enum operand {
        OPERAND_NONE,
        OPERAND_KEY,       /* the name of a key in the store */
        OPERAND_NEW_KEY,   /* a name that no key has yet */
        OPERAND_FILE,      /* a path, or "-" */
        OPERAND_TWO_FILES, /* the path of what is read, and of what is written */
        OPERAND_IMAGE,     /* the UUID of an image in Glance */
        OPERAND_DOMAIN,    /* a domain of libvirt, by name or UUID */
        OPERAND_VOLUME,    /* a volume that is open, by its name below /dev/mapper */
        OPERAND_LAYER,     /* a layer or converted image, by the name of its volume */
        OPERAND_TASK,      /* perhaps a task of setup */
        OPERAND_WORDS,     /* any number of words, taken as they are */
};

struct arguments {
        /* In the order of the table: the value, "" for a switch, NULL when not given. */
        const char *option[COMMAND_OPTIONS_MAX];
        const char *operand;
        const char *second_operand; /* OPERAND_TWO_FILES */
        char **words;               /* OPERAND_WORDS: up to a NULL */
};

/* Also wlagent's exit code. */
enum outcome {
        OUTCOME_OK = 0,
        OUTCOME_FAILED = 1, /* err says why, unless the command has told its result already */
        OUTCOME_USAGE = 2,  /* err says what is wrong with the command line */
};

struct command {
        const char *name;
        const char *summary; /* NULL: left out of --help and completion */
        const char *details; /* more for its own --help, or NULL */
        enum operand operand;
        bool one_line_errors; /* the hint goes in parentheses, for programs that read stderr */
        const struct command_option *options; /* ends with {0}; NULL: none */
        const struct command_letter *letters; /* ends with {0}; NULL: none */
        /* Places in the table of options, as bits, for the line of usage: run() checks them. */
        unsigned needed; /* all of these have to be given */
        unsigned either; /* and one of these */
        /* Ends with NULL; then the operand is words and there is no run(). */
        const struct command *const *subcommands;
        enum outcome (*run)(struct invocation *invocation, const struct arguments *arguments,
                            struct wla_error *err);
};

/* The root of the program's table: wlagent's own is in commands.c.  Its options are program_options. */
extern const struct command command_wlagent;
enum { PROGRAM_CONFIG, PROGRAM_VERSION };
extern const struct command_option program_options[];

/* One per file of its name. */
extern const struct command command_setup;
extern const struct command command_status;
extern const struct command command_metrics;
extern const struct command command_doctor;
extern const struct command command_migrate;
extern const struct command command_key;
extern const struct command command_key_create;
extern const struct command command_key_import;
extern const struct command command_key_wrap;
extern const struct command command_key_list;
extern const struct command command_key_show;
extern const struct command command_key_remove;
extern const struct command command_keyprovider;
extern const struct command command_kbs;
extern const struct command command_flavor;
extern const struct command command_flavor_create;
extern const struct command command_kbs_create;
extern const struct command command_vm;     /* its subcommands are in cli/vm.h */
extern const struct command command_volume; /* and these in cli/volume.h */
extern const struct command command_complete;
extern const struct command command_image;
extern const struct command command_image_encrypt;
extern const struct command command_image_info;
extern const struct command command_image_verify;
extern const struct command command_image_decrypt;
extern const struct command command_image_register;
extern const struct command command_image_unregister;
extern const struct command command_image_list;

/* NULL when there is none of that name. */
const struct command *command_find(const struct command *parent, const char *name);

/* parent: NULL for a command directly under wlagent. */
void command_print_usage(FILE *to, const struct command *parent, const struct command *command);
void command_print_help(const struct command *parent, const struct command *command);
