// SPDX-License-Identifier: GPL-2.0
/*
 * vhost-blk-migrate: starts the two sides of a migration, which from then on speak to each other
 * over a stream only, and says what became of it.  What there is to copy for a VMM is in stream.h,
 * source.c and destination.c.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <json-c/json.h>
#include <linux/vhost_inflight.h>

#include "say.h"
#include "side.h"

static const char help[] =
"usage: vhost-blk-migrate [OPTION...] SOURCE-NODE DESTINATION-NODE\n"
"\n"
"Runs a guest, a virtio-blk driver with memory of its own that writes and reads blocks and checks\n"
"what it reads, on SOURCE-NODE, and moves it while it runs to DESTINATION-NODE, which another\n"
"process owns.  Both are nodes like /dev/vhost-blk-NAME of devices that are alike, and have the\n"
"same disk below them.  What is on the first 16 MiB of it is overwritten.\n"
"\n"
"  --mode MODE         flush: the source does all that the guest has asked of it; preserve: what\n"
"                      the disk has not seen yet moves with the guest (preserve)\n"
"  --packed            packed rings\n"
"  --queues N          queues that the guest uses (all there are)\n"
"  --depth N           requests on each of them at a time (16)\n"
"  --memory MIB        of the guest (16)\n"
"  --rounds N          moves, there and back; 0: the guest only runs, at SOURCE-NODE (1)\n"
"  --requests N        requests of the guest before each move, and after the last one (1000)\n"
"  --parked N          begin a move when so many requests are parked (0)\n"
"  --deadline-ms N     bound on a stop (1000)\n"
"  --retries N         when a stop stalls the guest goes on, and it is tried so often again (3)\n"
"  --retry-ms N        not sooner than after so long, unless the disk gets well before (1000)\n"
"  --patience S        how long a guest may wait for a request when none is parked (30)\n"
"  --json              print JSON instead of text\n"
"  --help              print this\n"
"\n"
"For tests:\n"
"  --check             compare all of the memory after each move, in the downtime\n"
"  --fail ready|start  the destination fails the first move: before it has the guest, or when it\n"
"                      should start it\n"
"\n"
"When a stop that preserves stalls with nothing out but reads they are left behind, and done again\n"
"at the destination.  There is no way to leave writes behind: one that lands late would undo what\n"
"the guest has written at the destination meanwhile.\n"
"\n"
"Exit status: 0 all moves done, and the guest found everything right; 1 it did not, or is lost;\n"
"2 usage; 3 a move was not possible, and the guest ran on where it was and found all right.\n";

enum {
	OPT_MODE = 256, OPT_PACKED, OPT_QUEUES, OPT_DEPTH, OPT_MEMORY, OPT_ROUNDS, OPT_REQUESTS,
	OPT_PARKED, OPT_DEADLINE, OPT_RETRIES, OPT_RETRY, OPT_PATIENCE, OPT_JSON, OPT_HELP,
	OPT_CHECK, OPT_FAIL,
};

static const struct option options[] = {
	{ "mode", required_argument, NULL, OPT_MODE },
	{ "packed", no_argument, NULL, OPT_PACKED },
	{ "queues", required_argument, NULL, OPT_QUEUES },
	{ "depth", required_argument, NULL, OPT_DEPTH },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "requests", required_argument, NULL, OPT_REQUESTS },
	{ "parked", required_argument, NULL, OPT_PARKED },
	{ "deadline-ms", required_argument, NULL, OPT_DEADLINE },
	{ "retries", required_argument, NULL, OPT_RETRIES },
	{ "retry-ms", required_argument, NULL, OPT_RETRY },
	{ "patience", required_argument, NULL, OPT_PATIENCE },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "check", no_argument, NULL, OPT_CHECK },
	{ "fail", required_argument, NULL, OPT_FAIL },
	{ }
};

/* ---- the command line ---- */

__printf(1, 2) static void wrong(const char *fmt, ...)
{
	char text[WHY_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say("%s (see vhost-blk-migrate --help)", text);
	exit(EXIT_USAGE);
}

static unsigned int number_of(const char *name, unsigned int least, unsigned int most)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(optarg, &end, 10);
	if (*optarg < '0' || *optarg > '9' || *end || errno || n < least || n > most)
		wrong("--%s takes a number from %u to %u, not \"%s\"", name, least, most, optarg);
	return n;
}

/* One of two words. */
static bool second(const char *name, const char *a, const char *b)
{
	if (strcmp(optarg, a) && strcmp(optarg, b))
		wrong("--%s is %s or %s, not \"%s\"", name, a, b, optarg);
	return !strcmp(optarg, b);
}

static void parse_one(struct options *o, int opt)
{
	switch (opt) {
	case OPT_MODE:
		o->mode = second("mode", "flush", "preserve") ? VHOST_INFLIGHT_STOP_PRESERVE :
								VHOST_INFLIGHT_STOP_FLUSH;
		break;
	case OPT_PACKED:
		o->packed = true;
		break;
	case OPT_QUEUES:
		o->queues = number_of("queues", 1, MAX_QUEUES);
		break;
	case OPT_DEPTH:
		o->depth = number_of("depth", 1, 256);
		break;
	case OPT_MEMORY:
		o->memory = number_of("memory", 1, 65536);
		break;
	case OPT_ROUNDS:
		o->rounds = number_of("rounds", 0, 1000000);
		break;
	case OPT_REQUESTS:
		o->requests = number_of("requests", 0, 1000000000);
		break;
	case OPT_PARKED:
		o->parked = number_of("parked", 0, 1000000);
		break;
	case OPT_DEADLINE:
		o->deadline_ms = number_of("deadline-ms", 1, 3600000);
		break;
	case OPT_RETRIES:
		o->retries = number_of("retries", 0, 1000000);
		break;
	case OPT_RETRY:
		o->retry_ms = number_of("retry-ms", 0, 3600000);
		break;
	case OPT_PATIENCE:
		o->patience = number_of("patience", 1, 86400);
		break;
	case OPT_JSON:
		o->json = true;
		break;
	case OPT_CHECK:
		o->check = true;
		break;
	case OPT_FAIL:
		o->fail = second("fail", "ready", "start") ? FAIL_START : FAIL_READY;
		break;
	case OPT_HELP:
		fputs(help, stdout);
		exit(fflush(stdout) ? EXIT_LOST : 0);
	default:
		/* getopt_long() has said what is wrong. */
		exit(EXIT_USAGE);
	}
}

static void parse(struct options *o, int argc, char **argv)
{
	int opt;

	*o = (struct options){
		.mode = VHOST_INFLIGHT_STOP_PRESERVE, .depth = 16, .memory = 16, .rounds = 1,
		.requests = 1000, .deadline_ms = 1000, .retries = 3, .retry_ms = 1000,
		.patience = 30,
	};
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		parse_one(o, opt);
	if (argc - optind != 2 && (o->rounds || argc - optind != 1))
		wrong("a source and a destination are needed");
	o->node[0] = argv[optind];
	o->node[1] = argv[argc - 1];
	if (o->rounds && !strcmp(o->node[0], o->node[1]))
		wrong("%s can't be source and destination", o->node[0]);
}

/* ---- what became of it ---- */

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

static uint64_t downtime(const struct move *m)
{
	return m->stop_ns + m->copy_ns + m->start_ns + m->first_ns;
}

static void print_move(const struct options *o, const struct move *m)
{
	if (!m->moved) {
		printf("move %u from %s: not done, %u stops\n", m->round + 1, o->node[m->from],
		       m->attempts);
		return;
	}
	printf("move %u to %s: %.1f ms of downtime\n", m->round + 1, o->node[!m->from],
	       ms(downtime(m)));
	printf("  stop %.1f, copy %.1f, start %.1f, first request %.1f\n", ms(m->stop_ns),
	       ms(m->copy_ns), ms(m->start_ns), ms(m->first_ns));
	printf("  %llu pages before in %u passes, %llu in the downtime\n",
	       (unsigned long long)m->early_pages, m->passes - 1,
	       (unsigned long long)m->last_pages);
	printf("  requests: %u returned by the stop, %u moved", m->published, m->kept);
	if (m->left)
		printf(", %u left behind", m->left);
	if (m->attempts > 1)
		printf("; %u stops", m->attempts);
	putchar('\n');
}

static void print_guest(const struct options *o, unsigned int at, const struct guest_counts *c)
{
	printf("the guest at %s: %llu reads, %llu writes, %llu flushes\n", o->node[at],
	       (unsigned long long)c->reads, (unsigned long long)c->writes,
	       (unsigned long long)c->flushes);
	printf("  %llu blocks were read that had been written, and had what was written last\n",
	       (unsigned long long)c->checked);
}

static void add(struct json_object *obj, const char *key, uint64_t n)
{
	json_object_object_add(obj, key, json_object_new_uint64(n));
}

static void add_ms(struct json_object *obj, const char *key, uint64_t ns)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", ms(ns));
	json_object_object_add(obj, key, json_object_new_double_s(ms(ns), text));
}

static struct json_object *json_move(const struct options *o, const struct move *m)
{
	struct json_object *obj = json_object_new_object();

	json_object_object_add(obj, "from", json_object_new_string(o->node[m->from]));
	json_object_object_add(obj, "to", json_object_new_string(o->node[!m->from]));
	json_object_object_add(obj, "moved", json_object_new_boolean(m->moved));
	add(obj, "stops", m->attempts);
	if (!m->moved)
		return obj;
	add_ms(obj, "downtime_ms", downtime(m));
	add_ms(obj, "stop_ms", m->stop_ns);
	add_ms(obj, "copy_ms", m->copy_ns);
	add_ms(obj, "start_ms", m->start_ns);
	add_ms(obj, "first_ms", m->first_ns);
	add(obj, "device_stop_ms", m->stop_ms);
	add(obj, "passes", m->passes);
	add(obj, "early_pages", m->early_pages);
	add(obj, "last_pages", m->last_pages);
	add(obj, "logged_by_device", m->by_device);
	add(obj, "logged_by_driver", m->by_driver);
	add(obj, "published", m->published);
	add(obj, "kept", m->kept);
	add(obj, "left_behind", m->left);
	return obj;
}

static struct json_object *json_guest(const struct options *o, unsigned int at,
				      const struct guest_counts *c)
{
	struct json_object *obj = json_object_new_object();

	json_object_object_add(obj, "at", json_object_new_string(o->node[at]));
	add(obj, "reads", c->reads);
	add(obj, "writes", c->writes);
	add(obj, "flushes", c->flushes);
	add(obj, "ids", c->ids);
	add(obj, "blocks_checked", c->checked);
	add(obj, "kicks", c->kicks);
	add(obj, "interrupts", c->interrupts);
	return obj;
}

/* Until both sides have closed it; whether the guest came to its end. */
static bool listen_to(int fd, const struct options *o, struct json_object *all)
{
	struct json_object *moves = json_object_new_array(), *guest = NULL;
	struct report r;
	bool end = false;

	while (read(fd, &r, sizeof(r)) == sizeof(r)) {
		if (r.type == REPORT_MOVE) {
			json_object_array_add(moves, json_move(o, &r.move));
			if (!o->json)
				print_move(o, &r.move);
		} else {
			end = true;
			guest = json_guest(o, r.at, &r.guest);
			if (!o->json)
				print_guest(o, r.at, &r.guest);
		}
		fflush(stdout);
	}
	json_object_object_add(all, "moves", moves);
	json_object_object_add(all, "guest", guest);
	return end;
}

/* ---- both sides ---- */

static int fork_side(const struct options *o, unsigned int nr, const int stream[2],
		     const int report[2])
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		exit(EXIT_LOST);
	close(stream[!nr]);
	close(report[0]);
	exit(side_run(o, nr, stream[nr], report[1]));
}

static int wait_for(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return EXIT_LOST;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	say("a side was ended by signal %d", WTERMSIG(status));
	return EXIT_LOST;
}

int main(int argc, char **argv)
{
	struct json_object *all = json_object_new_object();
	int stream[2], report[2], status[2], ret;
	struct options o;
	pid_t pid[2];
	bool end;

	parse(&o, argc, argv);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream) || pipe(report)) {
		say("no socket for the two sides: %s", strerror(errno));
		return EXIT_LOST;
	}
	for (unsigned int i = 0; i < 2; i++) {
		pid[i] = fork_side(&o, i, stream, report);
		if (pid[i] < 0) {
			say("no process for a side: %s", strerror(errno));
			return EXIT_LOST;
		}
	}
	close(stream[0]);
	close(stream[1]);
	close(report[1]);
	end = listen_to(report[0], &o, all);
	for (unsigned int i = 0; i < 2; i++)
		status[i] = wait_for(pid[i]);
	ret = !end || (status[0] != EXIT_NOT_MOVED && status[0]) ||
	      (status[1] != EXIT_NOT_MOVED && status[1]) ? EXIT_LOST : status[0] ?: status[1];
	if (o.json) {
		add(all, "exit_status", ret);
		puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_SPACED |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	}
	json_object_put(all);
	if (fflush(stdout) || ferror(stdout)) {
		say("can't write the output: %s", strerror(errno));
		return EXIT_LOST;
	}
	return ret;
}
