// SPDX-License-Identifier: GPL-2.0
/* vhost-blkctl upgrade */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <libkmod.h>

#include "cfs.h"
#include "cli.h"
#include "say.h"

#define ENGINE	"vhost_blk"
#define HOLDER	"vhost_inflight"

#define TEXT_LEN	128
#define DEFAULT_TIMEOUT	5	/* seconds; the help says so, too */

const struct opt upgrade_opts[] = {
	{ "timeout", OPT_SECS, "SECONDS", "bound on the pause of the queues (default 5)" },
	{ "fallback", OPT_STR, "FILE", "the running engine's file, to go back to" },
	{ "no-fallback", OPT_FLAG, NULL, "go without a way back" },
	{ "force", OPT_FLAG, NULL, "also if it is the build that runs already" },
	{ }
};

/**
 * struct engine - a build of the engine
 * @mod: its file; NULL when there is none to go back to
 * @name: what it calls itself while it runs
 * @build: its srcversion
 */
struct engine {
	struct kmod_module *mod;
	char name[TEXT_LEN];
	char build[TEXT_LEN];
};

/* ---- what a file says of itself ---- */

/* The value of @key, "" when the file has none; 0 or -errno when it is no module. */
static int mod_info(struct kmod_module *mod, const char *key, char buf[TEXT_LEN])
{
	struct kmod_list *list = NULL, *l;
	int ret = kmod_module_get_info(mod, &list);

	*buf = 0;
	if (ret < 0)
		return ret;
	kmod_list_foreach(l, list)
		if (!strcmp(kmod_module_info_get_key(l), key))
			snprintf(buf, TEXT_LEN, "%s", kmod_module_info_get_value(l));
	kmod_module_info_free_list(list);
	return 0;
}

/* What the kernel says of a module it has; "" when it has none. */
static void running_build(const char *module, char buf[TEXT_LEN])
{
	char path[PATH_MAX];
	FILE *f;

	*buf = 0;
	snprintf(path, sizeof(path), "/sys/module/%s/srcversion", module);
	f = fopen(path, "re");
	if (!f)
		return;
	if (fgets(buf, TEXT_LEN, f))
		buf[strcspn(buf, "\n")] = 0;
	fclose(f);
}

/* The file that modprobe would take; NULL without a word. */
static struct kmod_module *installed(struct kmod_ctx *kmod, const char *module)
{
	struct kmod_module *mod;

	if (kmod_module_new_from_name(kmod, module, &mod))
		return NULL;
	if (kmod_module_get_path(mod))
		return mod;
	kmod_module_unref(mod);
	return NULL;
}

static struct kmod_module *from_file(struct kmod_ctx *kmod, const char *path)
{
	struct kmod_module *mod;
	char *real = realpath(path, NULL);
	int ret = real ? kmod_module_new_from_path(kmod, real, &mod) : -errno;

	free(real);
	if (!ret)
		return mod;
	/* libkmod does not take the same name from two places */
	say_fail("can't read %s: %s", path, strerror(-ret));
	return NULL;
}

/* ---- does it fit ---- */

static int say_cannot(void)
{
	return say_fail("the loaded %s can't exchange engines: it is of another version than this tool",
			HOLDER);
}

static bool is_same(struct kmod_list *wants, struct kmod_list *has)
{
	return strcmp(kmod_module_dependency_symbol_get_symbol(wants),
		      kmod_module_symbol_get_symbol(has)) ||
	       kmod_module_dependency_symbol_get_crc(wants) == kmod_module_symbol_get_crc(has);
}

/* The symbols of the holder that @mod was built with are those of @holder; or says which is not. */
static int check_symbols(struct kmod_module *mod, struct kmod_module *holder)
{
	struct kmod_list *wants = NULL, *has = NULL, *w, *h;
	int ret = BLKCTL_OK;

	if (kmod_module_get_dependency_symbols(mod, &wants) < 0 ||
	    kmod_module_get_symbols(holder, &has) < 0)
		goto out;	/* no CRCs: the kernel does not look at them either */
	kmod_list_foreach(w, wants) {
		kmod_list_foreach(h, has) {
			if (is_same(w, h))
				continue;
			ret = say_fail(
				"%s was built with another %s (%s differs): upgrade both, with the VMs stopped",
				kmod_module_get_path(mod), HOLDER,
				kmod_module_symbol_get_symbol(h));
			goto out;
		}
	}
out:
	kmod_module_dependency_symbols_free_list(wants);
	kmod_module_symbols_free_list(has);
	return ret;
}

/* Everything that can be seen before anything is touched. */
static int check(struct kmod_ctx *kmod, struct engine *e, int root)
{
	char text[TEXT_LEN], running[TEXT_LEN];
	const char *path = kmod_module_get_path(e->mod);
	struct kmod_module *holder;
	struct utsname uts;
	uint64_t abi;
	int ret;

	ret = mod_info(e->mod, "name", text);
	if (ret < 0)
		return say_fail("%s is no kernel module: %s", path, strerror(-ret));
	if (strcmp(text, ENGINE))
		return say_fail("%s is the module %s: give a file of " ENGINE, path, text);
	uname(&uts);
	mod_info(e->mod, "vermagic", text);
	text[strcspn(text, " ")] = 0;
	if (strcmp(text, uts.release))
		return say_fail("%s was built for kernel %s, this is %s: build it for this one",
				path, text, uts.release);
	ret = cfs_read_u64(root, "engine_abi", &abi);
	if (ret)
		return say_cannot();
	mod_info(e->mod, "vinf_abi", text);
	if (strtoull(text, NULL, 10) != abi)
		return say_fail(
			"%s speaks version %s of the engines' interface, the loaded %s speaks %llu: upgrade both, with the VMs stopped",
			path, *text ? text : "?", HOLDER, (unsigned long long)abi);
	mod_info(e->mod, "srcversion", e->build);
	/* The holder's file, if it is the one that runs. */
	holder = installed(kmod, HOLDER);
	if (!holder)
		return BLKCTL_OK;
	running_build(HOLDER, running);
	ret = BLKCTL_OK;
	if (!mod_info(holder, "srcversion", text) && !strcmp(text, running))
		ret = check_symbols(e->mod, holder);
	kmod_module_unref(holder);
	return ret;
}

/* ---- the exchange ---- */

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/* Whoever looks at a module holds it for a moment, and nobody says when that is over. */
static int remove_engine(struct kmod_ctx *kmod, uint64_t until)
{
	struct kmod_module *mod;
	int ret = kmod_module_new_from_name(kmod, ENGINE, &mod);

	if (ret)
		return ret;
	for (;;) {
		ret = kmod_module_remove_module(mod, KMOD_REMOVE_NOWAIT);
		if (ret == -ENOENT)	/* somebody else did it */
			ret = 0;
		if (ret != -EAGAIN || now_us() >= until)
			break;
		poll(NULL, 0, 1);
	}
	kmod_module_unref(mod);
	return ret;
}

/* What is said behind the reason: did the engine before get its devices back? */
static const char *aftermath(int back)
{
	if (!back)
		return "the engine before serves on";
	return "and it can't come back: the VMs' disks stand still until one that fits is inserted";
}

static int exchange(struct kmod_ctx *kmod, struct engine *from, struct engine *to, int root,
		    const char *timeout)
{
	double secs = timeout ? strtod(timeout, NULL) : DEFAULT_TIMEOUT;
	uint64_t until = now_us() + secs * 1000000;
	char ms[24];
	int ret, back;

	snprintf(ms, sizeof(ms), "%.0f", secs * 1000);
	ret = cfs_write(root, "detach", ms);
	if (ret == -ETIMEDOUT)
		return say_fail(
			"a queue did not pause within %g seconds: %s; try again with a longer --timeout",
			secs, aftermath(0));
	if (ret)
		return say_fail("can't take the devices from the engine: %s", strerror(-ret));
	if (*from->build) {
		ret = remove_engine(kmod, until);
		if (ret)
			return say_fail("can't remove %s, something in the kernel uses it (%s): %s",
					ENGINE, strerror(-ret),
					aftermath(cfs_write(root, "attach", "1")));
	}
	ret = kmod_module_insert_module(to->mod, 0, "");
	if (!ret)
		return BLKCTL_OK;
	if (!*from->build)
		return say_fail("the kernel refuses %s (%s; \"dmesg\" says why)",
				kmod_module_get_path(to->mod), strerror(-ret));
	back = from->mod ? kmod_module_insert_module(from->mod, 0, "") : -ENOENT;
	return say_fail("the kernel refuses %s (%s; \"dmesg\" says why): %s",
			kmod_module_get_path(to->mod), strerror(-ret), aftermath(back));
}

static int report(const struct args *args, const struct engine *from, const struct engine *to,
		  bool done, double pause_ms)
{
	struct json_object *obj;

	if (!args->json) {
		if (!done)
			printf("%s (build %s) runs already\n", from->name, from->build);
		else if (!*from->build)
			printf("%s (build %s) serves, before there was none\n", to->name,
			       to->build);
		else
			printf(
			"%s (build %s) took over from %s (build %s), the devices paused for %.1f ms\n",
			to->name, to->build, from->name, from->build, pause_ms);
		return BLKCTL_OK;
	}
	obj = json_object_new_object();
	json_object_object_add(obj, "upgraded", json_object_new_boolean(done));
	json_object_object_add(obj, "from", json_object_new_string(from->name));
	json_object_object_add(obj, "from_build", json_object_new_string(from->build));
	json_object_object_add(obj, "to", json_object_new_string(to->name));
	json_object_object_add(obj, "to_build", json_object_new_string(to->build));
	json_object_object_add(obj, "pause_ms", json_object_new_double(pause_ms));
	return say_json(obj);
}

static bool is_build(struct kmod_module *mod, const char *build)
{
	char text[TEXT_LEN];

	return mod && !mod_info(mod, "srcversion", text) && !strcmp(text, build);
}

/* A build that dkms has kept beside the one that is installed. */
static struct kmod_module *kept_by_dkms(struct kmod_ctx *kmod, const char *build)
{
	struct kmod_module *mod = NULL;
	char pattern[PATH_MAX];
	struct utsname uts;
	glob_t files;
	size_t i;

	uname(&uts);
	snprintf(pattern, sizeof(pattern), "/var/lib/dkms/*/*/%s/*/module/%s.ko*", uts.release,
		 ENGINE);
	if (glob(pattern, 0, NULL, &files))
		return NULL;
	for (i = 0; i < files.gl_pathc && !mod; i++) {
		if (kmod_module_new_from_path(kmod, files.gl_pathv[i], &mod))
			mod = NULL;
		else if (!is_build(mod, build))
			mod = kmod_module_unref(mod);
	}
	globfree(&files);
	return mod;
}

/* The file to go back to: of the very build that runs. */
static int find_way_back(struct kmod_ctx *kmod, const struct args *args, struct engine *from)
{
	const char *file = cli_get(args, "fallback");

	if (file) {
		from->mod = from_file(kmod, file);
		if (!from->mod)
			return BLKCTL_FAILED;
		if (!is_build(from->mod, from->build))
			return say_fail("%s is not the build that runs (%s): it is no way back",
					file, from->build);
	} else {
		from->mod = installed(kmod, ENGINE);
		if (!is_build(from->mod, from->build)) {
			kmod_module_unref(from->mod);
			from->mod = kept_by_dkms(kmod, from->build);
		}
	}
	if (from->mod || cli_get(args, "no-fallback"))
		return BLKCTL_OK;
	return say_fail(
		"no file of the engine that runs (build %s) is found, so there is no way back: name it with --fallback, or go without, --no-fallback",
		from->build);
}

static int upgrade(struct kmod_ctx *kmod, struct kmod_ctx *other, const struct args *args, int root,
		   struct engine *from, struct engine *to)
{
	uint64_t begin, pause_us;
	sigset_t all, before;
	int ret;

	to->mod = args->name ? from_file(kmod, args->name) : installed(kmod, ENGINE);
	if (!to->mod)
		return args->name ? BLKCTL_FAILED :
			say_fail("no " ENGINE " is installed for this kernel: name the file");
	ret = check(other, to, root);
	if (ret)
		return ret;
	running_build(ENGINE, from->build);
	if (*from->build && !strcmp(from->build, to->build) && !cli_get(args, "force")) {
		/* An upgrade before this one may have been killed halfway. */
		ret = cfs_write(root, "attach", "1");
		if (ret)
			return say_fail("%s runs, but can't go on with the devices: %s (\"dmesg\" says why)",
					from->name, strerror(-ret));
		return report(args, from, from, false, 0);
	}
	if (*from->build && !strcmp(from->build, to->build) && !cli_get(args, "fallback")) {
		from->mod = kmod_module_ref(to->mod);
	} else if (*from->build) {
		ret = find_way_back(other, args, from);
		if (ret)
			return ret;
	}
	/* Not interrupted in between, when the VMs have no disks. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	begin = now_us();
	ret = exchange(kmod, from, to, root, cli_get(args, "timeout"));
	pause_us = now_us() - begin;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (ret)
		return ret;
	cfs_read(root, "engine", to->name, sizeof(to->name));
	return report(args, from, to, true, pause_us / 1000.0);
}

int cmd_upgrade(const struct args *args)
{
	/* One each: to libkmod two files of one name are the same module. */
	struct kmod_ctx *kmod = kmod_new(NULL, NULL), *other = kmod_new(NULL, NULL);
	struct engine from = { 0 }, to = { 0 };
	int root = cfs_open_root(), ret;

	/* It prints what we say. */
	if (kmod)
		kmod_set_log_priority(kmod, 0);
	if (other)
		kmod_set_log_priority(other, 0);
	if (root < 0)
		ret = cfs_say_root(root);
	else if (flock(root, LOCK_EX | LOCK_NB))
		ret = say_fail("another upgrade is under way");
	else if (!kmod || !other)
		ret = say_fail("out of memory");
	else if (cfs_read(root, "engine", from.name, sizeof(from.name)))
		ret = say_cannot();
	else
		ret = upgrade(kmod, other, args, root, &from, &to);
	kmod_module_unref(from.mod);
	kmod_module_unref(to.mod);
	kmod_unref(kmod);
	kmod_unref(other);
	if (root >= 0)
		close(root);
	return ret;
}
