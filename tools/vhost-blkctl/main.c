// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl: the commands. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "say.h"

static const struct cmd commands[] = {
	{
		.name = "create", .operand = "NAME", .operand_needed = true,
		.opts = create_opts, .run = cmd_create,
		.summary = "make a device and its node /dev/vhost-blk-NAME",
		.details = "Either the device is there and enabled afterwards, or nothing is.",
	}, {
		.name = "delete", .operand = "NAME", .operand_needed = true,
		.complete_devices = true, .run = cmd_delete,
		.summary = "take a device away",
		.details = "A device whose node is open, or that waits for its disk, is kept.",
	}, {
		.name = "events", .operand = "NAME", .operand_needed = true,
		.complete_devices = true, .opts = events_opts, .run = cmd_events,
		.summary = "print what happened: parked requests, stops, broken queues",
		.details = "A device keeps the last 64 events. With --json, one object per line.",
	}, {
		.name = "inflight", .operand = "NAME", .operand_needed = true,
		.complete_devices = true, .run = cmd_inflight,
		.summary = "list the requests that a device has taken and not given back",
		.details = "Of each queue in the order in which they were taken.",
	}, {
		.name = "list", .run = cmd_list,
		.summary = "list the devices",
	}, {
		.name = "show", .operand = "NAME", .operand_needed = true,
		.complete_devices = true, .run = cmd_show,
		.summary = "show state, configuration and counters of a device",
	}, {
		.name = "resize", .operand = "NAME",
		.complete_devices = true, .opts = resize_opts, .run = cmd_resize,
		.summary = "look at the size of the backing again and tell the guest",
		.details = "Takes either a NAME or --backing.",
	}, {
		.name = "retry", .operand = "NAME", .operand_needed = true,
		.complete_devices = true, .run = cmd_retry,
		.summary = "try parked requests, which the disk failed, again now",
	}, {
		.name = "set", .operand = "NAME", .operand_needed = true,
		.complete_devices = true, .settings = true, .run = cmd_set,
		.summary = "change attributes of a device, also while it is in use",
		.details = "Either all of them are changed, or none.",
	}, {
		.name = "watch", .operand = "NAME", .operand_needed = true,
		.complete_devices = true, .opts = watch_opts, .run = cmd_watch,
		.summary = "print the rates of a device's counters at intervals",
		.details = "With --json, one object per line.",
	}, {
		.name = "upgrade", .operand = "MODULE", .operand_is_file = true,
		.opts = upgrade_opts, .run = cmd_upgrade,
		.summary = "exchange the engine while VMs run",
		.details = "MODULE is a file; default is the installed one. What does not fit is refused.",
	},
	{ }
};

static int run(const struct cmd *cmd, int argc, char **argv)
{
	struct args args;
	int ret = cli_parse(cmd, argc, argv, &args);

	if (ret)
		return ret < 0 ? BLKCTL_OK : ret;
	return cmd->run(&args);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word)
		return say_usage(NULL, "which command?");
	if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help")) {
		cli_help(commands);
		return say_flush(BLKCTL_OK);
	}
	if (!strcmp(word, "--version")) {
		puts("vhost-blkctl " BLKCTL_VERSION);
		return say_flush(BLKCTL_OK);
	}
	if (!strcmp(word, "--complete")) {	/* the completion script's; not for people */
		cli_complete(commands, argc - 2, argv + 2);
		return say_flush(BLKCTL_OK);
	}
	for (const struct cmd *cmd = commands; cmd->name; cmd++)
		if (!strcmp(cmd->name, word))
			return say_flush(run(cmd, argc - 2, argv + 2));
	return say_usage(NULL, "there is no command \"%s\"", word);
}
