/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Commands and their options as tables.
 *
 * A command is one row in commands[] (main.c) and one table of options beside its function;
 * parsing, --help and completion are driven by these and by nothing else.
 */
#ifndef BLKCTL_CLI_H
#define BLKCTL_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "cfs.h"

/* What the tool exits with. */
enum {
	BLKCTL_OK	= 0,
	BLKCTL_FAILED	= 1,
	BLKCTL_USAGE	= 2,
};

enum opt_kind {
	OPT_FLAG,	/* takes no argument */
	OPT_STR,
	OPT_UINT,	/* decimal, fits 64 bits */
	OPT_SECS,	/* seconds with a fraction, above 0 */
};

#define CLI_MAX_OPTS	24

/**
 * struct opt - one option of a command
 * @name: without the dashes; NULL ends the table
 * @kind: what argument it takes
 * @arg: name of the argument in help
 * @help: one line
 * @attr: configfs attribute that the option sets, if it is such an option
 * @value: for OPT_FLAG with @attr: what is written there
 */
struct opt {
	const char *name;
	enum opt_kind kind;
	const char *arg;
	const char *help;
	const char *attr;
	const char *value;
};

struct cmd;

/**
 * struct args - a parsed command line
 * @cmd: the command
 * @name: the operand, NULL when there is none; unless it is a file it can be the name of a device
 * @val: per row of @cmd->opts: NULL when not given, else the argument ("" for a flag)
 * @set: per row of cfs_attrs: NULL when not given, else what it is to be
 * @json: print JSON
 */
struct args {
	const struct cmd *cmd;
	const char *name;
	const char *val[CLI_MAX_OPTS];
	const char *set[CFS_MAX_ATTRS];
	bool json;
};

/**
 * struct cmd - one command
 * @name: what is typed; NULL ends the table
 * @operand: name of the operand in help, NULL when it takes none
 * @operand_needed: whether leaving it out is an error
 * @operand_is_file: whether it is the name of a file, and not of a device
 * @complete_devices: whether the operand is the name of a device that exists
 * @settings: whether ATTRIBUTE=VALUE... follows the operand, at least one
 * @summary: one line for the list of commands
 * @details: paragraphs for the command's own help, may be NULL
 * @opts: its options, beside --json and --help that all have; may be NULL
 * @run: does it; returns one of BLKCTL_*
 */
struct cmd {
	const char *name;
	const char *operand;
	bool operand_needed;
	bool operand_is_file;
	bool complete_devices;
	bool settings;
	const char *summary;
	const char *details;
	const struct opt *opts;
	int (*run)(const struct args *args);
};

/* 0, BLKCTL_USAGE after having said what is wrong, or -1 when help was asked for and given. */
int cli_parse(const struct cmd *cmd, int argc, char **argv, struct args *args);

/* The argument of option @name, NULL when it was not given. */
const char *cli_get(const struct args *args, const char *name);

void cli_help(const struct cmd *commands);
void cli_help_cmd(const struct cmd *cmd);

/* Prints the words that can follow argv[0..argc-1], the last of which may be unfinished. */
void cli_complete(const struct cmd *commands, int argc, char **argv);

/* The commands, each in the file of its name. */
int cmd_create(const struct args *args);
int cmd_delete(const struct args *args);
int cmd_events(const struct args *args);
int cmd_inflight(const struct args *args);
int cmd_list(const struct args *args);
int cmd_resize(const struct args *args);
int cmd_retry(const struct args *args);
int cmd_set(const struct args *args);
int cmd_show(const struct args *args);
int cmd_upgrade(const struct args *args);
int cmd_watch(const struct args *args);

extern const struct opt create_opts[];
extern const struct opt events_opts[];
extern const struct opt resize_opts[];
extern const struct opt upgrade_opts[];
extern const struct opt watch_opts[];

#endif
