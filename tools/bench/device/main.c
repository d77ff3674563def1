// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "vbench.h"

#ifndef VIRTIO_F_RING_PACKED
#define VIRTIO_F_RING_PACKED	34
#endif

struct options opt = {
	.depth = 32, .block = 4096, .reads = 100, .queues = 1, .batch = 1, .ring = 256, .maps = 1,
	.warmup = 0.2, .time = 1,
};

struct target target[MAX_TARGETS];
unsigned int nr_targets;
int call_fd = -1;

static struct recovery recovery;
static bool json;

static const char help[] =
	"usage: vbench [OPTION...] TARGET...\n"
	"\n"
	"Random requests to TARGETs, as fast as they go, and what that cost. What a TARGET is says its type:\n"
	"a character device is a node of vhost-vdpa, a socket a vhost-user-blk back end, and what is behind a\n"
	"block device or a file is reached by io_uring. Several have to be of one type. Writes overwrite.\n"
	"\n"
	"  --depth N          requests out at once, of each queue (32)\n"
	"  --block-size B     bytes of a request (4096)\n"
	"  --mix MIX          randread, randwrite, or the percentage of reads (randread)\n"
	"  --queues N         virtqueues of each TARGET (1)\n"
	"  --batch N          requests that are made available together, at least (1)\n"
	"  --polled           look for used buffers (default)\n"
	"  --evented          wait for calls\n"
	"  --split, --packed  layout of the rings (split)\n"
	"  --ring N           size of the rings (256)\n"
	"  --indirect         indirect descriptors even if the ring has room for three of each request\n"
	"  --no-event-idx     without VIRTIO_RING_F_EVENT_IDX\n"
	"  --iopoll           io_uring polls the disk for what is done\n"
	"  --inflight         give the device a region in which it tracks what is in flight; a vhost-blk\n"
	"                     device without it has one of its own, a vhost-user back end has none\n"
	"  --maps N           guest memory in so many mappings (1)\n"
	"  --sparse G         and G GiB more in one mapping, in which nothing is\n"
	"  --time S           measure for S seconds (1), after a warm-up\n"
	"  --warmup S         of S seconds (0.2)\n"
	"  --idle S           then look for S seconds at what the device does while it has nothing to do\n"
	"  --requests N       measure N requests at least, however long it takes\n"
	"  --cpu WHO          processor time of that process, or of the threads whose names begin so, is the\n"
	"                     device's. Other threads of our own process are anyway: the kernel's workers.\n"
	"                     May be given several times\n"
	"  --apart            the client on the first processor, the device's threads on all others\n"
	"  --recover COMMAND  measure something else: a disk that fails all requests, of a device that parks\n"
	"                     them, is given --depth of each queue; a stop preserves them; the owner goes; COMMAND\n"
	"                     heals the disk; and the next owner goes on from the inflight region\n"
	"  --json             one object, for programs\n"
	"\n"
	"Exit status: 0; 1 something failed, or a request did; 2 usage.\n";

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("vbench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n", stderr);
	va_end(ap);
	exit(1);
}

static void __noreturn __printf(1, 2) misuse(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("vbench: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("; see --help\n", stderr);
	va_end(ap);
	exit(2);
}

static double number(const char *name, const char *arg, double min, double max)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= min && v <= max))
		misuse("%s is no %s", arg, name);
	return v;
}

static unsigned int mix(const char *arg)
{
	if (!strcmp(arg, "randread"))
		return 100;
	if (!strcmp(arg, "randwrite"))
		return 0;
	return number("mix", arg, 0, 100);
}

/* What has a number: where it goes, and its bounds. */
static double count, gib;
static const struct {
	const char *name;
	unsigned int *to;
	double *real;
	double min, max;
} numbers[] = {
	{ "depth", &opt.depth, NULL, 1, MAX_RING },
	{ "block-size", &opt.block, NULL, SECTOR, 1 << 20 },
	{ "queues", &opt.queues, NULL, 1, MAX_QUEUES },
	{ "batch", &opt.batch, NULL, 1, MAX_RING },
	{ "ring", &opt.ring, NULL, 2, MAX_RING },
	{ "maps", &opt.maps, NULL, 1, 65000 },
	{ "sparse", NULL, &gib, 1, 65536 },
	{ "time", NULL, &opt.time, 0.01, 86400 },
	{ "warmup", NULL, &opt.warmup, 0, 86400 },
	{ "idle", NULL, &opt.idle, 0, 86400 },
	{ "requests", NULL, &count, 1, 1e15 },
};

/* What is on or off. */
static const struct {
	const char *name;
	bool *to, on;
} flags[] = {
	{ "polled", &opt.evented, false },
	{ "evented", &opt.evented, true },
	{ "split", &opt.packed, false },
	{ "packed", &opt.packed, true },
	{ "indirect", &opt.indirect, true },
	{ "no-event-idx", &opt.no_event_idx, true },
	{ "inflight", &opt.inflight, true },
	{ "iopoll", &opt.iopoll, true },
	{ "apart", &opt.apart, true },
	{ "json", &json, true },
};

enum { NUMBER = 0x100, FLAG = 0x200, MIX = 0x300, CPU, RECOVER };

static void take(int c, const char *arg)
{
	unsigned int i = c & 0xff;

	switch (c & ~0xff) {
	case NUMBER:
		if (numbers[i].to)
			*numbers[i].to = number(numbers[i].name, arg, numbers[i].min,
						numbers[i].max);
		else
			*numbers[i].real = number(numbers[i].name, arg, numbers[i].min,
						  numbers[i].max);
		return;
	case FLAG:
		*flags[i].to = flags[i].on;
		return;
	default:
		break;
	}
	if (c == MIX) {
		opt.reads = mix(arg);
	} else if (c == CPU) {
		if (opt.nr_cpu == MAX_CPUS)
			misuse("at most %u --cpu", MAX_CPUS);
		opt.cpu[opt.nr_cpu++] = arg;
	} else if (c == RECOVER) {
		opt.recover = arg;
		opt.inflight = true;
	} else if (c == 'h') {
		fputs(help, stdout);
		exit(0);
	} else {
		misuse("that is not understood");
	}
}

static void parse(int argc, char **argv)
{
	struct option options[ARRAY_SIZE(numbers) + ARRAY_SIZE(flags) + 5] = {
		{ "mix", 1, NULL, MIX }, { "cpu", 1, NULL, CPU },
		{ "recover", 1, NULL, RECOVER }, { "help", 0, NULL, 'h' },
	}, *o = &options[4];
	int c;

	for (unsigned int i = 0; i < ARRAY_SIZE(numbers); i++)
		*o++ = (struct option){ numbers[i].name, 1, NULL, NUMBER + i };
	for (unsigned int i = 0; i < ARRAY_SIZE(flags); i++)
		*o++ = (struct option){ flags[i].name, 0, NULL, FLAG + i };
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
		take(c, optarg);
	opt.requests = count;
	opt.sparse = (uint64_t)gib << 30;
	if (opt.block % SECTOR)
		misuse("a block size is a multiple of %u", SECTOR);
	if (opt.ring & (opt.ring - 1))
		misuse("the size of a ring is a power of two");
	if (opt.depth > opt.ring)
		misuse("a ring of %u has no room for %u requests", opt.ring, opt.depth);
	if (argc - optind < 1 || argc - optind > MAX_TARGETS)
		misuse("1 to %u targets", MAX_TARGETS);
	if (opt.recover && argc - optind != 1)
		misuse("--recover is for one target");
	if (opt.recover && opt.idle > 0)
		misuse("--recover has no --idle");
	while (optind < argc)
		target[nr_targets++].path = argv[optind++];
}

uint64_t choose_features(const struct target *t, uint64_t offered, uint64_t must)
{
	uint64_t want = must;

	if (opt.packed)
		must |= BIT(VIRTIO_F_RING_PACKED);
	if (opt.indirect)
		must |= BIT(VIRTIO_RING_F_INDIRECT_DESC);
	if (opt.queues > 1)
		want |= BIT(12);	/* VIRTIO_BLK_F_MQ */
	/* Else writes are written through. */
	want |= must | BIT(9);		/* VIRTIO_BLK_F_FLUSH */
	if (!opt.no_event_idx)
		want |= BIT(VIRTIO_RING_F_EVENT_IDX);
	if ((offered & must) != must)
		die("%s does not offer what is wanted: 0x%llx of 0x%llx", t->path,
		    (unsigned long long)(offered & must), (unsigned long long)must);
	return offered & want;
}

static const struct {
	const char *name;
	void (*open)(struct target *t);
	void (*start)(struct target *t);
	void (*stop)(struct target *t);
} kinds[] = {
	[KIND_VDPA] = { "vdpa", vdpa_open, vdpa_start, vdpa_stop },
	[KIND_VHOST_USER] = { "vhost-user", vuser_open, vuser_start, vuser_stop },
	[KIND_URING] = { "io_uring", uring_open, NULL, NULL },
};

static enum kind kind_of(const char *path)
{
	struct stat st;

	if (stat(path, &st))
		die("%s: %s", path, strerror(errno));
	if (S_ISCHR(st.st_mode))
		return KIND_VDPA;
	return S_ISSOCK(st.st_mode) ? KIND_VHOST_USER : KIND_URING;
}

static void make_queues(struct target *t, uint8_t *meta, uint8_t *data, uint64_t stride)
{
	t->queue = calloc(opt.queues, sizeof(*t->queue));
	if (!t->queue)
		die("no memory");
	for (unsigned int i = 0; i < opt.queues; i++) {
		struct queue *q = &t->queue[i];

		q->indirect = opt.indirect;
		q->event_idx = t->features & BIT(VIRTIO_RING_F_EVENT_IDX);
		q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (q->kick < 0)
			die("no eventfd: %s", strerror(errno));
		queue_make(q, meta + i * queue_meta_size(), data + i * opt.depth * stride, stride);
	}
}

static void run(void)
{
	uint64_t per_target = queue_meta_size() * opt.queues, meta = per_target * nr_targets;
	uint64_t slots = (uint64_t)opt.depth * opt.queues * nr_targets;
	uint64_t stride = (opt.block + 4095ull) & ~4095ull;
	enum kind kind = target[0].kind;

	/* Enough of them for a page in each mapping. */
	if (stride * slots < opt.maps * 4096ull)
		stride = (opt.maps * 4096ull / slots + 4096) & ~4095ull;
	memory_make(meta, slots * stride);
	call_fd = eventfd(0, EFD_CLOEXEC);
	if (call_fd < 0)
		die("no eventfd: %s", strerror(errno));
	if (kind == KIND_URING) {
		uring_drive(mem.base + meta, stride);
		return;
	}
	for (unsigned int i = 0; i < nr_targets; i++)
		make_queues(&target[i], mem.base + i * per_target,
			    mem.base + meta + i * opt.queues * opt.depth * stride, stride);
	for (unsigned int i = 0; i < nr_targets; i++)
		kinds[kind].start(&target[i]);
	if (opt.recover) {
		recovery = recover(&target[0]);
		return;
	}
	if (opt.apart)
		measure_apart();
	drive_rings();
	measure_over();
	if (opt.idle > 0)
		measure_idle();
	for (unsigned int i = 0; i < nr_targets; i++)
		kinds[kind].stop(&target[i]);
}

static double per(uint64_t n)
{
	return res.requests ? (double)n / res.requests : 0;
}

/* The mean of one of the times of the targets, in microseconds. */
static double target_us(size_t member)
{
	double sum = 0;

	for (unsigned int i = 0; i < nr_targets; i++)
		sum += *(uint64_t *)((char *)&target[i] + member) / 1000.0;
	return sum / nr_targets;
}

struct figure {
	const char *name;
	double value;
};

static void show(const struct figure *figures, unsigned int n)
{
	printf(json ? "{\"kind\": \"%s\", \"target\": \"%s\"" : "%s %s\n",
	       kinds[target[0].kind].name, target[0].path);
	for (unsigned int i = 0; i < n; i++)
		printf(json ? ", \"%s\": %.12g" : "  %-10s %.10g\n", figures[i].name,
		       figures[i].value);
	if (json)
		puts("}");
}

static void report_recovery(void)
{
	const struct figure figures[] = {
		{ "queues", opt.queues },
		{ "depth", opt.depth },
		{ "packed", opt.packed },
		{ "kept", recovery.kept },
		{ "stop_us", recovery.stop_ns / 1000.0 },
		{ "begun_us", recovery.begun_ns / 1000.0 },
		{ "start_us", recovery.start_ns / 1000.0 },
		{ "first_us", recovery.first_ns / 1000.0 },
		{ "all_us", recovery.all_ns / 1000.0 },
	};

	show(figures, ARRAY_SIZE(figures));
}

static void report(void)
{
	const struct figure figures[] = {
		{ "targets", nr_targets },
		{ "queues", opt.queues },
		{ "depth", opt.depth },
		{ "block_size", opt.block },
		{ "reads", opt.reads },
		{ "batch", opt.batch },
		{ "ring", opt.ring },
		{ "maps", opt.maps },
		{ "evented", opt.evented },
		{ "packed", opt.packed },
		{ "indirect", opt.indirect },
		{ "inflight", opt.inflight },
		{ "requests", res.requests },
		{ "errors", res.errors },
		{ "seconds", res.ns / 1e9 },
		{ "iops", res.requests / (res.ns / 1e9) },
		{ "mean_us", hist_mean() / 1000 },
		{ "p50_us", hist_quantile(500000) / 1000 },
		{ "p99_us", hist_quantile(990000) / 1000 },
		{ "p999_us", hist_quantile(999000) / 1000 },
		{ "client_ns", per(res.client_ns) },
		{ "device_ns", per(res.device_ns) },
		{ "switches", per(res.switches) },
		{ "kicks", per(res.kicks) },
		{ "calls", per(res.calls) },
		{ "start_us", target_us(offsetof(struct target, start_ns)) },
		{ "map_us", target_us(offsetof(struct target, map_ns)) },
		{ "stop_us", target_us(offsetof(struct target, stop_ns)) },
		{ "idle_us", res.idle_ns / 1000.0 },
		{ "idle_sleeps", res.idle_sleeps },
	};

	show(figures, ARRAY_SIZE(figures));
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (3 * opt.depth > opt.ring)
		opt.indirect = true;
	for (unsigned int i = 0; i < nr_targets; i++) {
		struct target *t = &target[i];

		t->inflight_fd = -1;
		t->kind = kind_of(t->path);
		if (t->kind != target[0].kind)
			misuse("the targets are not all of one type");
		kinds[t->kind].open(t);
		if (!t->blocks)
			die("%s is empty", t->path);
	}
	if (opt.recover && target[0].kind != KIND_VDPA)
		misuse("--recover is for a vhost-blk device");
	if (opt.idle > 0 && target[0].kind == KIND_URING)
		misuse("--idle is for devices");
	run();
	if (opt.recover) {
		report_recovery();
		return 0;
	}
	report();
	if (res.errors)
		die("%llu requests failed", (unsigned long long)res.errors);
	return 0;
}
