// SPDX-License-Identifier: GPL-2.0
/* Parsing, help and completion, all from the tables described in cli.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "say.h"

static const struct opt common_opts[] = {
	{ "json", OPT_FLAG, NULL, "print JSON instead of text" },
	{ "help", OPT_FLAG, NULL, "print this" },
	{ }
};

static int find_opt(const struct opt *opts, const char *name, size_t len)
{
	for (int i = 0; opts && opts[i].name; i++)
		if (strlen(opts[i].name) == len && !strncmp(opts[i].name, name, len))
			return i;
	return -1;
}

/* With a zero in front the driver would take it for an octal one. */
static bool is_uint(const char *val)
{
	char *end;

	if (*val < '0' || *val > '9' || (*val == '0' && val[1]))
		return false;
	errno = 0;
	strtoull(val, &end, 10);
	return !*end && !errno;
}

/* Says what is wrong with @val as an argument of @opt. */
static int check_value(const struct cmd *cmd, const struct opt *opt, const char *val)
{
	double secs;
	char *end;

	switch (opt->kind) {
	case OPT_UINT:
		if (!is_uint(val))
			return say_usage(cmd, "--%s takes a whole number, not \"%s\"", opt->name,
					 val);
		break;
	case OPT_SECS:
		errno = 0;
		secs = strtod(val, &end);
		if (end == val || *end || errno || !isfinite(secs) || secs < 0.1 || secs > 86400)
			return say_usage(cmd, "--%s takes seconds from 0.1 to 86400, not \"%s\"",
					 opt->name, val);
		break;
	case OPT_STR:
	case OPT_FLAG:
		break;
	}
	return 0;
}

/* One argument that starts with "--"; *@i moves on when it takes the next one too. */
static int parse_opt(const struct cmd *cmd, int argc, char **argv, int *i, struct args *args)
{
	const char *name = argv[*i] + 2;
	const char *eq = strchr(name, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);
	const char *val = eq ? eq + 1 : NULL;
	const struct opt *opt;
	int nr;

	if (find_opt(common_opts, name, len) >= 0) {
		if (val)
			return say_usage(cmd, "--%.*s takes no value", (int)len, name);
		if (!strcmp(name, "json")) {
			args->json = true;
			return 0;
		}
		cli_help_cmd(cmd);
		return -1;
	}

	nr = find_opt(cmd->opts, name, len);
	if (nr < 0)
		return say_usage(cmd, "%s has no option --%.*s", cmd->name, (int)len, name);
	opt = &cmd->opts[nr];
	if (args->val[nr])
		return say_usage(cmd, "--%s is given twice", opt->name);

	if (opt->kind == OPT_FLAG) {
		if (val)
			return say_usage(cmd, "--%s takes no value", opt->name);
		args->val[nr] = "";
		return 0;
	}
	if (!val) {
		if (*i + 1 >= argc)
			return say_usage(cmd, "--%s needs a value: --%s %s", opt->name, opt->name,
					 opt->arg);
		val = argv[++*i];
	}
	args->val[nr] = val;
	return check_value(cmd, opt, val);
}

/* One ATTRIBUTE=VALUE. */
static int parse_setting(const struct cmd *cmd, const char *word, struct args *args)
{
	const char *eq = strchr(word, '=');
	const struct cfs_attr *attr;
	int nr;

	if (!eq)
		return say_usage(cmd, "\"%s\" is no ATTRIBUTE=VALUE", word);
	nr = cfs_find(word, eq - word);
	if (nr < 0 || !cfs_attrs[nr].takes)
		return say_usage(cmd, "there is no attribute \"%.*s\" to set", (int)(eq - word),
				 word);
	attr = &cfs_attrs[nr];
	if (!attr->live)
		return say_usage(cmd,
				 "%s can't be changed while a device is enabled: delete it and create it again",
				 attr->name);
	if (args->set[nr])
		return say_usage(cmd, "%s is given twice", attr->name);
	args->set[nr] = eq + 1;
	if (attr->kind == CFS_UINT && !is_uint(eq + 1))
		return say_usage(cmd, "%s takes %s, not \"%s\"", attr->name, attr->takes, eq + 1);
	return 0;
}

static bool any_setting(const struct args *args)
{
	for (int i = 0; cfs_attrs[i].name; i++)
		if (args->set[i])
			return true;
	return false;
}

int cli_parse(const struct cmd *cmd, int argc, char **argv, struct args *args)
{
	bool only_operands = false;
	int ret;

	*args = (struct args){ .cmd = cmd };
	for (int i = 0; i < argc; i++) {
		const char *word = argv[i];

		if (!only_operands && !strcmp(word, "--")) {
			only_operands = true;
		} else if (!only_operands && !strncmp(word, "--", 2)) {
			ret = parse_opt(cmd, argc, argv, &i, args);
			if (ret)
				return ret;
		} else if (!only_operands && !strcmp(word, "-h")) {
			cli_help_cmd(cmd);
			return -1;
		} else if (!only_operands && word[0] == '-' && word[1]) {
			return say_usage(cmd, "%s has no option %s", cmd->name, word);
		} else if (cmd->settings && args->name) {
			ret = parse_setting(cmd, word, args);
			if (ret)
				return ret;
		} else if (!cmd->operand || args->name) {
			return say_usage(cmd, "\"%s\" is one argument too many for %s", word,
					 cmd->name);
		} else {
			args->name = word;
		}
	}
	if (cmd->operand_needed && !args->name)
		return say_usage(cmd, "%s needs a %s", cmd->name, cmd->operand);
	if (args->name && !cmd->operand_is_file && !cfs_name_ok(args->name))
		return say_usage(cmd,
				 "\"%s\" is no name for a device: use 1 to %d of A-Z a-z 0-9 _ . -, no dot first",
				 args->name, CFS_NAME_MAX);
	if (cmd->settings && !any_setting(args))
		return say_usage(cmd, "%s needs an ATTRIBUTE=VALUE", cmd->name);
	return 0;
}

const char *cli_get(const struct args *args, const char *name)
{
	int nr = find_opt(args->cmd->opts, name, strlen(name));

	return nr < 0 ? NULL : args->val[nr];
}

static void help_opts(const struct opt *opts)
{
	char left[64];

	for (; opts && opts->name; opts++) {
		snprintf(left, sizeof(left), "--%s%s%s", opts->name, opts->arg ? " " : "",
			 opts->arg ? opts->arg : "");
		printf("  %-26s %s\n", left, opts->help);
	}
}

static void help_attrs(void)
{
	printf("\nAttributes:\n");
	for (const struct cfs_attr *attr = cfs_attrs; attr->name; attr++)
		if (attr->live)
			printf("  %-26s %s\n", attr->name, attr->takes);
}

void cli_help_cmd(const struct cmd *cmd)
{
	const char *open = cmd->operand_needed ? "" : "[", *close = cmd->operand_needed ? "" : "]";

	printf("Usage: vhost-blkctl %s", cmd->name);
	if (cmd->operand)
		printf(" %s%s%s", open, cmd->operand, close);
	printf("%s [OPTION...]\n\n%s\n", cmd->settings ? " ATTRIBUTE=VALUE..." : "",
	       cmd->summary);
	if (cmd->details)
		printf("\n%s\n", cmd->details);
	if (cmd->settings)
		help_attrs();
	printf("\nOptions:\n");
	help_opts(cmd->opts);
	help_opts(common_opts);
}

void cli_help(const struct cmd *commands)
{
	printf("Usage: vhost-blkctl COMMAND [OPERAND] [OPTION...]\n\n"
	       "Makes and looks after virtio-blk devices that are served in the kernel.\n\n"
	       "Commands:\n");
	for (const struct cmd *cmd = commands; cmd->name; cmd++)
		printf("  %-10s %s\n", cmd->name, cmd->summary);
	printf("\n\"vhost-blkctl COMMAND --help\" explains a command, vhost-blkctl(8) everything.\n"
	       "Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static void complete_opts(const struct opt *opts, const char *start)
{
	for (; opts && opts->name; opts++)
		if (!strncmp(opts->name, start, strlen(start)))
			printf("--%s\n", opts->name);
}

static void complete_devices(const char *start)
{
	struct cfs_names names;

	if (cfs_list(&names) < 0)
		return;
	for (size_t i = 0; i < names.nr; i++)
		if (!strncmp(names.name[i], start, strlen(start)))
			puts(names.name[i]);
	cfs_list_free(&names);
}

static void complete_attrs(const char *start)
{
	for (const struct cfs_attr *attr = cfs_attrs; attr->name; attr++)
		if (attr->live && !strncmp(attr->name, start, strlen(start)))
			printf("%s=\n", attr->name);
}

/* The words that the option or attribute @name takes; false when it takes none. */
static bool complete_value(const struct cmd *cmd, const char *name, const char *start)
{
	const char *attr = cmd->settings ? name : NULL, *w;
	int nr;

	if (!strncmp(name, "--", 2)) {
		nr = find_opt(cmd->opts, name + 2, strlen(name + 2));
		attr = nr < 0 || cmd->opts[nr].kind == OPT_FLAG ? NULL : cmd->opts[nr].attr;
	}
	nr = attr ? cfs_find(attr, strlen(attr)) : -1;
	if (nr < 0 || !cfs_attrs[nr].words)
		return false;
	for (w = cfs_attrs[nr].words; *w; w += strspn(w, " ")) {
		size_t len = strcspn(w, " ");

		if (len >= strlen(start) && !strncmp(w, start, strlen(start)))
			printf("%.*s\n", (int)len, w);
		w += len;
	}
	return true;
}

void cli_complete(const struct cmd *commands, int argc, char **argv)
{
	const char *last = argc ? argv[argc - 1] : "";
	const struct cmd *cmd;

	if (argc <= 1) {
		for (cmd = commands; cmd->name; cmd++)
			if (!strncmp(cmd->name, last, strlen(last)))
				puts(cmd->name);
		return;
	}
	for (cmd = commands; cmd->name && strcmp(cmd->name, argv[0]); cmd++)
		;
	if (!cmd->name)
		return;
	/* To bash "a=b" is three words, and "a=" two. */
	if (argc > 2 && !strcmp(last, "=")) {
		complete_value(cmd, argv[argc - 2], "");
		return;
	}
	if (argc > 3 && !strcmp(argv[argc - 2], "=")) {
		complete_value(cmd, argv[argc - 3], last);
		return;
	}
	if (argc > 2 && !strncmp(argv[argc - 2], "--", 2) &&
	    complete_value(cmd, argv[argc - 2], last))
		return;
	if (!strncmp(last, "--", 2)) {
		complete_opts(cmd->opts, last + 2);
		complete_opts(common_opts, last + 2);
	} else if (cmd->settings && argc > 2) {
		complete_attrs(last);
	} else if (cmd->complete_devices) {
		complete_devices(last);
	}
}
