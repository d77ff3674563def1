// SPDX-License-Identifier: GPL-2.0
/* vhost-inflightd: libvinf-supervisor as a daemon. */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include "vsup.h"

enum { OK, FAILED, USAGE };

static const struct option options[] = {
	{ "dir", required_argument, NULL, 'd' },
	{ "dev", required_argument, NULL, 'D' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{}
};

static const char help[] =
	"Usage: vhost-inflightd [OPTION...]\n"
	"\n"
	"Keeps the inflight regions of the devices /dev/vhost-blk-NAME, and the guest memory that VMMs\n"
	"deposit, for the successors of VMMs that die. Does not go into the background.\n"
	"\n"
	"  --dir DIR   socket, states and named regions; a tmpfs (" VSUP_DIR ")\n"
	"  --dev DIR   where the nodes are (/dev)\n"
	"  --help      print this\n"
	"  --version   print the version\n"
	"\n"
	"Exit status: 0 ended by SIGTERM or SIGINT, 1 it can't run, 2 usage.\n";

static const struct { int err; const char *why; } reasons[] = {
	{ EBUSY, "another supervisor has it" },
	{ EMEDIUMTYPE, "it is not on a tmpfs, which the files of regions have to be" },
};

static void print(const char *sentence)
{
	fprintf(stderr, "%s\n", sentence);
}

static int fail(const char *dir, int err)
{
	const char *why = strerror(err);

	for (size_t i = 0; i < sizeof(reasons) / sizeof(*reasons); i++)
		if (reasons[i].err == err)
			why = reasons[i].why;
	fprintf(stderr, "vhost-inflightd: can't begin in %s: %s\n", dir ? dir : VSUP_DIR, why);
	return FAILED;
}

static int run(struct vsup *keeper)
{
	struct pollfd p[2] = { { .events = POLLIN }, { .events = POLLIN } };
	sigset_t end;
	int ret = 0;

	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigprocmask(SIG_BLOCK, &end, NULL);
	p[0].fd = vsup_fd(keeper);
	p[1].fd = signalfd(-1, &end, SFD_CLOEXEC);
	sd_notify(0, "READY=1");
	while (!ret && !(p[1].revents & POLLIN)) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			ret = -errno;
		else
			ret = vsup_work(keeper);
	}
	if (ret)
		fprintf(stderr, "vhost-inflightd: waiting failed: %s\n", strerror(-ret));
	return ret ? FAILED : OK;
}

int main(int argc, char **argv)
{
	struct vsup_options o = { .say = print };
	struct vsup *keeper;
	int opt, ret;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		switch (opt) {
		case 'd':
			o.run_dir = optarg;
			break;
		case 'D':
			o.dev_dir = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return OK;
		case 'V':
			puts("vhost-inflightd " VSUP_VERSION);
			return OK;
		default:
			fputs("Try 'vhost-inflightd --help'.\n", stderr);
			return USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "vhost-inflightd: it takes no argument \"%s\"; try --help\n",
			argv[optind]);
		return USAGE;
	}
	ret = vsup_new(&keeper, &o);
	if (ret)
		return fail(o.run_dir, -ret);
	ret = run(keeper);
	vsup_free(keeper);
	return ret;
}
