// SPDX-License-Identifier: GPL-2.0
/*
 * The supervisor with the real driver: VMMs are killed with requests in flight, the supervisor is killed before them, behind
 * them or both times, and each successor gets all it needs from the supervisor alone.
 *
 * The VMMs are tools/supervisor/example, started as any program; this process is the guest's driver, whose memory outlives
 * them.  Half of the disk stands still when they end, so that it is certain what is in flight.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "vblk_dev.h"
#include "vblk_inflight.h"
#include "../../../supervisor/example.h"
#include "kselftest_harness.h"

#define DISK	(16 << 20)
#define IOVA	0x100000
#define NUM	64
#define CELLS	32		/* per queue; the odd ones on the half that stands still */
#define CELL	4096
#define GARBAGE	0xdeadbeef
#define ROUNDS	3

/* ---- a service manager with a store of descriptors, see sd_notify(3): ours, whom no unit bounds ---- */

#define MAX_STORED 8

static struct manager {
	char path[64];
	int sock;
	pthread_mutex_t lock;
	unsigned int ready;		/* times a service said so */
	unsigned int nr;
	struct {
		char name[128];
		int fd;
	} stored[MAX_STORED];
} manager = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void manager_remove(const char *name)
{
	unsigned int i;

	for (i = manager.nr; i--;) {
		if (strcmp(manager.stored[i].name, name))
			continue;
		close(manager.stored[i].fd);
		manager.stored[i] = manager.stored[--manager.nr];
	}
}

static void manager_message(const char *text, int fd)
{
	const char *p = strstr(text, "FDNAME=");
	char name[128] = "";
	bool keep = false;

	if (p)
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p + 7, "\n"), p + 7);
	pthread_mutex_lock(&manager.lock);
	if (strstr(text, "FDSTOREREMOVE=1"))
		manager_remove(name);
	else if (strstr(text, "FDSTORE=1") && fd >= 0 && manager.nr < MAX_STORED)
		keep = true;
	if (keep) {
		strcpy(manager.stored[manager.nr].name, name);
		manager.stored[manager.nr++].fd = fd;
	}
	if (strstr(text, "READY=1"))
		manager.ready++;
	pthread_mutex_unlock(&manager.lock);
	/* of BARRIER=1, too: it is waited for that it is closed */
	if (fd >= 0 && !keep)
		close(fd);
}

static void *manager_run(void *arg)
{
	char text[1024], control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { text, sizeof(text) - 1 };

	for (;;) {
		struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
				    .msg_controllen = CMSG_LEN(sizeof(int)) };
		ssize_t n = recvmsg(manager.sock, &h, MSG_CMSG_CLOEXEC);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		int fd = -1;

		if (n < 0)
			continue;
		text[n] = 0;
		if (c && c->cmsg_type == SCM_RIGHTS)
			memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		manager_message(text, fd);
	}
	return NULL;
}

static int manager_start(const char *dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	pthread_t t;

	snprintf(manager.path, sizeof(manager.path), "%s/notify", dir);
	strcpy(a.sun_path, manager.path);
	manager.sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return bind(manager.sock, (void *)&a, sizeof(a)) || pthread_create(&t, NULL, manager_run, NULL) ? -1 : 0;
}

static unsigned int manager_ready(void)
{
	unsigned int n;

	pthread_mutex_lock(&manager.lock);
	n = manager.ready;
	pthread_mutex_unlock(&manager.lock);
	return n;
}

/* ---- the scene: a disk, a guest, a supervisor and a VMM ---- */

struct cell {
	__u64 off, buf;
	__u32 seq;		/* of the last write that was used */
	bool busy;
};

struct scene {
	bool packed, stored, systemd;
	struct vd_rig r;
	struct vd_inflight region;
	struct cell cell[EXAMPLE_QUEUES][CELLS];
	struct cell *of[EXAMPLE_QUEUES][NUM];
	char tools[VD_PATH_LEN], dir[VD_PATH_LEN], run[VD_PATH_LEN], socket[VD_PATH_LEN];
	char state[8192];	/* what the supervisor knows of it */
	int machine;
	pid_t daemon, manager, vmm;
	long kills;		/* of the daemon, under systemd */
	int from;		/* what the VMM says */
};

static int say(const char *what, long n)
{
	printf("# %s (%ld)\n", what, n);
	return -1;
}

/* In a child: descriptors @fd get the numbers from 3 on, and there are no others. */
static void become(const char *path, char *const *argv, const int *fd, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		dup2(fd[i], 200 + i);
	for (i = 0; i < n; i++)
		dup2(200 + i, 3 + i);
	syscall(SYS_close_range, 3 + n, ~0U, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(path, argv);
	_exit(127);
}

static int daemon_start(struct scene *self)
{
	unsigned int ready = manager_ready(), i;
	char path[VD_PATH_LEN * 2], names[1024] = "", text[16];
	long end = vd_now_ms() + VD_WAIT_MS;
	int fd[MAX_STORED];
	pid_t pid;

	snprintf(path, sizeof(path), "%s/vhost-inflightd", self->tools);
	/* held by none across the fork */
	pthread_mutex_lock(&manager.lock);
	pid = fork();
	if (!pid) {
		char *argv[] = { "vhost-inflightd", "--dir", self->run, NULL };
		unsigned int n = self->stored ? manager.nr : 0;

		for (i = 0; i < n; i++) {
			fd[i] = manager.stored[i].fd;
			sprintf(names + strlen(names), "%s%s", i ? ":" : "", manager.stored[i].name);
		}
		setenv("NOTIFY_SOCKET", manager.path, 1);
		setenv("FDSTORE", self->stored ? "8" : "0", 1);
		snprintf(text, sizeof(text), "%u", n);
		setenv("LISTEN_FDS", text, 1);
		snprintf(text, sizeof(text), "%d", getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDNAMES", names, 1);
		become(path, argv, fd, n);
	}
	pthread_mutex_unlock(&manager.lock);
	self->daemon = pid;		/* which is shared with the child */
	while (manager_ready() == ready)
		if (vd_now_ms() > end || poll(NULL, 0, 1))
			return -ETIMEDOUT;
	return 0;
}

static int end_of(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	return vd_child_end(pid, &status, VD_WAIT_MS);
}

/* The one child of a process. */
static pid_t child_of(pid_t pid)
{
	char path[VD_PATH_LEN], text[32];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	return vd_read_file(path, text, sizeof(text)) > 0 ? atoi(text) : 0;
}

/*
 * In a child: go on as one that the daemon under systemd can tell by its number.  Who can't stays, and
 * ends with the test; its end is the other's.
 */
static void move_in(struct scene *self)
{
	char path[VD_PATH_LEN];
	int status;
	pid_t pid;

	snprintf(path, sizeof(path), "/proc/%d/ns/pid", child_of(self->manager));
	if (setns(open(path, O_RDONLY | O_CLOEXEC), CLONE_NEWPID))
		_exit(126);
	pid = fork();
	if (!pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	waitpid(pid, &status, 0);
	_exit(127);
}

/* Until it runs; returns the number of requests that it found in flight, or -1. */
static int vmm_start(struct scene *self, const char *how)
{
	char path[VD_PATH_LEN * 2], text[128];
	struct vd *d = &self->r.d;
	unsigned int i;
	int out[2], n;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/example", self->tools);
	if (pipe(out))
		return -1;
	pid = fork();
	if (!pid) {
		char *argv[] = { "example", (char *)how, self->r.name, self->socket, NULL };
		int fd[2 + 2 * EXAMPLE_QUEUES] = { d->memfd, self->machine };

		/* a successor has nothing from its parent but the processors' end of the eventfds */
		if (!strcmp(how, "next"))
			for (i = 0; i < 2; i++)
				fd[i] = open("/dev/null", O_RDONLY);
		for (i = 0; i < EXAMPLE_QUEUES; i++) {
			fd[2 + 2 * i] = d->q[i]->kick;
			fd[3 + 2 * i] = d->q[i]->call;
		}
		dup2(out[1], 1);
		dup2(out[1], 2);
		if (self->systemd)
			move_in(self);
		become(path, argv, fd, 2 + 2 * EXAMPLE_QUEUES);
	}
	close(out[1]);
	self->vmm = pid;
	self->from = out[0];
	n = poll(&(struct pollfd){ .fd = out[0], .events = POLLIN }, 1, VD_WAIT_MS * 2) == 1 ?
	    read(out[0], text, sizeof(text) - 1) : 0;
	text[n > 0 ? n : 0] = 0;
	if (sscanf(text, "running, %d", &n) == 1)
		return n;
	printf("# the VMM says: %s\n", text);
	return -1;
}

/* ---- the service manager: systemd, with the unit that is installed ---- */

#define SERVICE "vhost-inflightd.service"

/* systemctl, for the manager that we started. */
#define systemctl(self, fmt, ...)							\
	vd_run("nsenter -t %d -m -p systemctl " fmt " " SERVICE, child_of((self)->manager), ##__VA_ARGS__)

/* For whoever looks why it failed. */
static int service_tell(struct scene *self, const char *what)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd), "nsenter -t %d -m -p systemctl status --no-pager " SERVICE " 2>&1 | sed 's/^/# /'",
		 child_of(self->manager));
	fflush(stdout);
	return system(cmd) ? -1 : say(what, self->manager);
}

/* A property of the service that is a number; -1 where it can't be had. */
static long service_has(struct scene *self, const char *what)
{
	char cmd[256], text[32];
	FILE *p;
	long n = -1;

	snprintf(cmd, sizeof(cmd), "nsenter -t %d -m -p systemctl show --value -p %s " SERVICE " 2>/dev/null",
		 child_of(self->manager), what);
	p = popen(cmd, "re");
	if (p && fgets(text, sizeof(text), p))
		n = atol(text);
	if (p)
		pclose(p);
	return n;
}

static int systemd_start(struct scene *self)
{
	char here[VD_PATH_LEN * 2], system[VD_PATH_LEN * 2];
	long end = vd_now_ms() + VD_WAIT_MS;
	pid_t pid;

	snprintf(system, sizeof(system), "%.100s/system", self->dir);
	snprintf(here, sizeof(here), "%.100s/../testing/selftests/vhost_blk/systemd.sh", self->tools);
	if (vd_run("mkdir -p %s/units %s/sbin", system, system) ||
	    vd_run("cp %s/" SERVICE " %s/units", self->tools, system) ||
	    vd_run("sed -i s,@SBINDIR@,/run/sbin, %s/units/" SERVICE, system) ||
	    vd_run("cd %s/units && for i in none sysinit basic shutdown; do echo [Unit] >$i.target || exit; done", system) ||
	    vd_run("cp %s/vhost-inflightd %s/sbin", self->tools, system))
		return say(system, errno);
	pid = fork();
	if (!pid) {
		char *argv[] = { "systemd.sh", system, NULL };

		become(here, argv, NULL, 0);
	}
	self->manager = pid;
	while (systemctl(self, "start"))
		if (vd_now_ms() > end || poll(NULL, 0, 10))
			return service_tell(self, "systemd does not start it");
	return 0;
}

/* Killed, it is started again by the manager alone: until it was, and is ready. */
static int systemd_wait(struct scene *self)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	if (!self->manager)
		return systemd_start(self);
	while (service_has(self, "NRestarts") < self->kills || systemctl(self, "is-active"))
		if (vd_now_ms() > end || poll(NULL, 0, 10))
			return service_tell(self, "systemd did not start it again");
	return 0;
}

static int keeper_start(struct scene *self)
{
	return self->systemd ? systemd_wait(self) : daemon_start(self);
}

static int keeper_kill(struct scene *self)
{
	if (!self->systemd)
		return end_of(self->daemon);
	/* One that is still on its way back would not be killed. */
	if (systemd_wait(self))
		return -1;
	self->kills++;
	return systemctl(self, "kill -s KILL --kill-who=main");
}

/* ---- the guest ---- */

static int submit(struct scene *self, unsigned int qi, struct cell *c)
{
	struct vd_buf b = { c->buf, CELL, false };
	struct vd *d = &self->r.d;
	int head;

	vd_fill(vd_ptr(d, c->buf), CELL, c->off, c->seq + 1);
	head = vd_submit(d->q[qi], VD_T_OUT, c->off / 512, &b, 1, c->off / CELL % 3 ? VD_INDIRECT : VD_DIRECT);
	if (head < 0)
		return head;
	self->of[qi][head] = c;
	c->busy = true;
	return 0;
}

/* All that is used, each once; what was written is garbage from then on. Returns how many, or -1. */
static int reap(struct scene *self)
{
	struct vd *d = &self->r.d;
	unsigned int i;
	int head, n = 0;

	for (i = 0; i < EXAMPLE_QUEUES; i++) {
		while ((head = vd_reap(d->q[i])) >= 0) {
			struct cell *c = self->of[i][head];

			if (!c || !c->busy || vd_slot_status(d->q[i], head) != VD_OK)
				return -1;
			self->of[i][head] = NULL;
			c->busy = false;
			c->seq++;
			vd_fill(vd_ptr(d, c->buf), CELL, c->off, GARBAGE);
			n++;
		}
		if (d->q[i]->bad_used)
			return -1;
	}
	return n;
}

static bool any_busy(struct scene *self)
{
	unsigned int i, j;

	for (i = 0; i < EXAMPLE_QUEUES; i++)
		for (j = 0; j < CELLS; j++)
			if (self->cell[i][j].busy)
				return true;
	return false;
}

static int drain(struct scene *self)
{
	long end = vd_now_ms() + VD_WAIT_MS;

	while (any_busy(self))
		if (reap(self) < 0 || vd_now_ms() > end || poll(NULL, 0, 1))
			return -1;
	return 0;
}

static int submit_half(struct scene *self, unsigned int half)
{
	unsigned int i, j;

	for (i = 0; i < EXAMPLE_QUEUES; i++) {
		for (j = half; j < CELLS; j += 2)
			if (submit(self, i, &self->cell[i][j]))
				return say("no room in the ring", i);
		vd_kick(self->r.d.q[i]);
	}
	return 0;
}

/* Of the cells, and not as many others that are about to be used. */
static bool only_odd(struct scene *self, unsigned int qi)
{
	__u16 heads[NUM];
	unsigned int i, n = vd_inflight_heads(&self->region, qi, heads);

	for (i = 0; i < n; i++) {
		struct cell *c = heads[i] < NUM ? self->of[qi][heads[i]] : NULL;

		if (!c || !((c - self->cell[qi]) % 2))
			return false;
	}
	return n == CELLS / 2;
}

/* Everything is busy, and in flight is the half that stands still, and nothing else. */
static int load(struct scene *self)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	unsigned int i;

	if (submit_half(self, 0))
		return -1;
	if (vd_backing_freeze(&self->r.b))
		return say("dmsetup suspend", 0);
	if (submit_half(self, 1))
		return -1;
	for (i = 0; i < EXAMPLE_QUEUES; i++)
		while (!only_odd(self, i))
			if (vd_now_ms() > end || poll(NULL, 0, 1))
				return say("in flight", vd_inflight_heads(&self->region, i, NULL));
	return 0;
}

static int verify(struct scene *self)
{
	unsigned int i, j;
	__u8 data[CELL];

	for (i = 0; i < EXAMPLE_QUEUES; i++)
		for (j = 0; j < CELLS; j++) {
			struct cell *c = &self->cell[i][j];

			if (vd_backing_read(&self->r.b, c->off, data, CELL) ||
			    vd_check(data, CELL, c->off, c->seq) >= 0)
				return -1;
		}
	return 0;
}

/* Guest memory in a file with a name, instead of the library's memfd. */
static int name_memory(struct scene *self)
{
	struct vd *d = &self->r.d;
	char path[VD_PATH_LEN * 2];
	int fd;

	snprintf(path, sizeof(path), "%s/ram", self->dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, d->mem[0].size) || dup2(fd, d->memfd) < 0)
		return -errno;
	close(fd);
	return mmap(d->mem[0].va, d->mem[0].size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, d->memfd, 0) ==
	       MAP_FAILED ? -errno : 0;
}

static int machine_new(struct scene *self)
{
	struct vd *d = &self->r.d;
	struct machine m = { .iova = IOVA, .size = d->mem[0].size, .num = NUM, .queues = EXAMPLE_QUEUES };
	char path[VD_PATH_LEN * 2];
	unsigned int i;

	for (i = 0; i < EXAMPLE_QUEUES; i++) {
		m.ring[i].desc = d->q[i]->desc_iova;
		m.ring[i].driver = d->q[i]->avail_iova;
		m.ring[i].device = d->q[i]->used_iova;
	}
	snprintf(path, sizeof(path), "%s/machine", self->dir);
	self->machine = self->stored ? memfd_create("machine", MFD_CLOEXEC) :
		open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return write(self->machine, &m, sizeof(m)) == sizeof(m) ? 0 : -1;
}

static int guest_new(struct scene *self)
{
	struct vd *d = &self->r.d;
	unsigned int i, j;

	if (vd_ioctl(d, VHOST_GET_FEATURES, &d->offered))
		return say("GET_FEATURES", errno);
	d->features = d->offered;
	for (i = 0; i < EXAMPLE_QUEUES; i++) {
		d->q[i] = vd_queue_new(d, i, NUM);
		if (!d->q[i])
			return say("no memory for a queue", i);
		d->nq = i + 1;
		for (j = 0; j < CELLS; j++) {
			struct cell *c = &self->cell[i][j];

			c->off = (j % 2) * (DISK / 2) + (i * CELLS + j) / 2 * CELL;
			c->buf = vd_alloc(d, CELL, 4096);
		}
	}
	return machine_new(self);
}

static int scene_make(struct scene *self)
{
	struct vd_config c = { .num_queues = EXAMPLE_QUEUES, .packed = self->packed };
	struct vd_opts o = { .iova = IOVA, .num = NUM, .num_queues = EXAMPLE_QUEUES };
	char path[VD_PATH_LEN];
	ssize_t n;

	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	snprintf(self->tools, sizeof(self->tools), "%.90s/../../../supervisor", dirname(path));
	snprintf(self->dir, sizeof(self->dir), "%.64s/supervisor-XXXXXX", getenv("VBLK_TMPFS") ?: "/dev/shm");
	if (!mkdtemp(self->dir) || manager_start(self->dir))
		return say(self->dir, errno);
	/* where the unit says, seen from outside */
	snprintf(self->run, sizeof(self->run), "%.90s%s", self->dir, self->systemd ? "/system/vhost-inflight" : "/run");
	snprintf(self->socket, sizeof(self->socket), "%.120s/socket", self->run);
	if (vd_rig_make(&self->r, VD_DM_MIXED, DISK, &c, NULL) || vd_open(&self->r.d, self->r.name, &o))
		return say("no device", errno);
	if (!self->stored && name_memory(self))
		return say("no memory with a name", errno);
	return guest_new(self) ?: keeper_start(self) ?: vmm_start(self, self->stored ? "first" : "named") ?:
	       vd_inflight_take(&self->r.d, &self->region, self->packed);
}

static int scene_free(struct scene *self)
{
	vd_run("rm -rf %s", self->dir);
	return vd_rig_free(&self->r);
}

/* ---- killed ---- */

FIXTURE(supervisor) {
	struct scene s;
};

FIXTURE_VARIANT(supervisor) {
	bool packed, stored, systemd;
};

FIXTURE_VARIANT_ADD(supervisor, split_store) { .stored = true };
FIXTURE_VARIANT_ADD(supervisor, packed_store) { .packed = true, .stored = true };
FIXTURE_VARIANT_ADD(supervisor, split_files) { 0 };
FIXTURE_VARIANT_ADD(supervisor, packed_files) { .packed = true };
FIXTURE_VARIANT_ADD(supervisor, packed_systemd) { .packed = true, .stored = true, .systemd = true };

FIXTURE_SETUP(supervisor)
{
	srandom(vd_now_ms());
	self->s.packed = variant->packed;
	self->s.stored = variant->stored;
	self->s.systemd = variant->systemd;
	ASSERT_EQ(0, scene_make(&self->s));
}

FIXTURE_TEARDOWN_PARENT(supervisor)
{
	EXPECT_EQ(0, scene_free(&self->s));
}

/* Which of the two ends first, and whether the supervisor is back in between. */
TEST_F_TIMEOUT(supervisor, killed_with_its_vmms, 200)
{
	unsigned int round, n = vd_rounds(ROUNDS);
	struct scene *s = &self->s;
	char path[VD_PATH_LEN * 2];
	struct stat st;

	for (round = 0; round < n; round++) {
		ASSERT_EQ(0, load(s)) TH_LOG("round %u", round);
		if (round % 3 < 2)
			ASSERT_EQ(0, keeper_kill(s));
		if (round % 3 == 1)
			ASSERT_EQ(0, keeper_start(s));
		ASSERT_EQ(0, end_of(s->vmm));
		close(s->from);
		if (round % 3)
			ASSERT_EQ(0, keeper_kill(s));
		ASSERT_EQ(0, keeper_start(s));
		/* what was used before the end */
		ASSERT_LE(0, reap(s));
		ASSERT_EQ(0, vd_backing_thaw(&s->r.b));
		ASSERT_EQ(EXAMPLE_QUEUES * CELLS / 2, vmm_start(s, "next")) TH_LOG("round %u", round);
		ASSERT_EQ(0, drain(s)) TH_LOG("round %u", round);
		ASSERT_EQ(0, verify(s)) TH_LOG("round %u", round);
	}
	/* The file with a name is the region all the time. */
	snprintf(path, sizeof(path), "%s/%s.region", s->run, s->r.name);
	ASSERT_EQ(variant->stored ? -1 : 0, stat(path, &st));
	if (!variant->stored)
		EXPECT_EQ(st.st_ino, vd_inflight_ino(&s->r.d));
	EXPECT_EQ(0, end_of(s->vmm));
	if (variant->systemd) {
		/* The region, the guest's memory and what the VMM needs to know, also when nobody died. */
		EXPECT_EQ(0, systemctl(s, "restart"));
		EXPECT_EQ(3, service_has(s, "NFileDescriptorStore"));
	}
	EXPECT_EQ(0, end_of(variant->systemd ? s->manager : s->daemon));
}

/* ---- and what it does by itself ---- */

FIXTURE(bystander) {
	struct scene s;
};

FIXTURE_SETUP(bystander)
{
	ASSERT_EQ(0, scene_make(&self->s));
}

FIXTURE_TEARDOWN_PARENT(bystander)
{
	EXPECT_EQ(0, scene_free(&self->s));
}

/* Until that is in the state file of the device. */
static int state_has(struct scene *self, const char *what)
{
	char path[VD_PATH_LEN * 2];
	long end = vd_now_ms() + VD_WAIT_MS;

	snprintf(path, sizeof(path), "%s/%s.json", self->run, self->r.name);
	do {
		if (vd_read_file(path, self->state, sizeof(self->state)) > 0 && strstr(self->state, what))
			return 0;
	} while (vd_now_ms() < end && !poll(NULL, 0, 1));
	return -1;
}

/* A VMM that knows nothing of it, as QEMU: this process. */
TEST_F_TIMEOUT(bystander, sees_what_it_is_not_told, 90)
{
	struct scene *s = &self->s;
	struct vd *d = &s->r.d;
	char ino[32], pid[32];
	unsigned int i;

	EXPECT_EQ(0, state_has(s, "\"owned\":true"));
	EXPECT_EQ(0, end_of(s->vmm));
	EXPECT_EQ(0, state_has(s, "\"owned\":false"));
	/* It goes on looking for two seconds; then only an event makes it look. */
	poll(NULL, 0, 4000);
	for (i = 0; i < EXAMPLE_QUEUES; i++)
		vd_queue_fresh(d->q[i]);
	ASSERT_EQ(0, vd_negotiate(d));
	ASSERT_EQ(0, vd_map_all(d));
	ASSERT_EQ(0, vd_setup_queues(d));
	ASSERT_EQ(0, vd_driver_ok(d));
	snprintf(pid, sizeof(pid), "\"pid\":%d", getpid());
	EXPECT_EQ(0, state_has(s, pid));
	snprintf(ino, sizeof(ino), "\"ino\":%lu", (unsigned long)vd_inflight_ino(d));
	EXPECT_EQ(0, state_has(s, ino));
	/* what the one before had deposited is of no use to anybody */
	EXPECT_EQ(NULL, strstr(s->state, "\"label\""));
	/* again at rest; this time nobody dies */
	poll(NULL, 0, 4000);
	close(d->fd);
	d->fd = -1;
	EXPECT_EQ(0, state_has(s, "\"owned\":false"));
	EXPECT_EQ(0, end_of(s->daemon));
}

/* A device can be deleted as soon as its VMM is gone: the supervisor has no node open. */
TEST_F_TIMEOUT(bystander, is_not_in_the_way, 60)
{
	long end = vd_now_ms() + VD_WAIT_MS;
	struct scene *s = &self->s;
	char path[VD_PATH_LEN * 2];

	EXPECT_EQ(0, end_of(s->vmm));
	close(s->r.d.fd);
	s->r.d.fd = -1;
	ASSERT_EQ(0, vd_remove(s->r.name));
	s->r.created = false;
	snprintf(path, sizeof(path), "%s/%s.json", s->run, s->r.name);
	while (!access(path, F_OK) && vd_now_ms() < end)
		poll(NULL, 0, 1);
	EXPECT_NE(0, access(path, F_OK)) TH_LOG("what was kept of it is still there");
	EXPECT_EQ(0, end_of(s->daemon));
}

TEST_HARNESS_MAIN
