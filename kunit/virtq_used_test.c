// SPDX-License-Identifier: GPL-2.0
/*
 * Which used entries a sequence of completions yields, byte by byte, in both layouts and under each
 * rule for their order. The rows are text:
 *
 *	+	the driver makes a buffer available, the device fetches it: a, b, c ...
 *	bca	the device gives back these, in one call. - behind a letter: one byte less than the
 *		buffer has room for; 0: nothing written
 *	.	it gives back nothing
 *	!	it starts again where it stands
 *
 * and what comes of each call, a word for each:
 *
 *	b	an entry for this buffer
 *	(abc)	one for all of these, with the id and the length of the last
 *	*	the entry before has FLUSH
 *	.	there is none
 */
#include <kunit/test.h>
#include <linux/string.h>
#include <linux/virtio_byteorder.h>
#include <uapi/linux/vhost_inflight.h>

#include "guest.h"

#define MAX_BUFFERS	8
#define FULL(buf)	(100U * ((buf) + 1))
/* With three descriptors at most to a buffer there is always room, and the end of the ring. */
#define SPLIT_NUM	32
#define PACKED_NUM	30
#define START		25

enum rule { RULE_NONE, RULE_IN_ORDER, RULE_PARTIAL, RULE_BOTH, NR_RULES };

static const char * const rule_names[NR_RULES] = { "", "+in_order", "+partial_order",
						   "+in_order+partial_order" };

struct row {
	const char *name, *calls;
	const char *used[NR_RULES];
};

static const struct row rows[] = {
	{ "in turn", "+++ a b c",
	  { "a b c", "a b c", "a* b* c*", "a* b* c*" } },
	{ "in turn, each before the next is there", "+ a + b + c",
	  { "a b c", "a b c", "a* b* c*", "a* b* c*" } },
	{ "nothing", "+ . a .",
	  { ". a .", ". a .", ". a* .", ". a* ." } },

	/* The first entry after a start stands for itself, whatever came before. */
	{ "first, in one call", "+++ abc",
	  { "abc", "(abc)", "a*(bc)*", "a*(bc)*" } },
	{ "first, in one call, backwards", "+++ cba",
	  { "cba", "(abc)", "a*(bc)*", "a*(bc)*" } },
	{ "first, two and one", "+++ ab c",
	  { "ab c", "(ab) c", "a*b* c*", "a*b* c*" } },
	{ "first, not the oldest", "++++ bc ad",
	  { "bc ad", ". (abcd)", "bc ad*", ". a*(bcd)*" } },

	{ "behind FLUSH, in one call", "+++++ a bcde",
	  { "a bcde", "a (bcde)", "a* (bcde)*", "a* (bcde)*" } },
	{ "behind FLUSH, in one call, in no order", "+++++ a ecdb",
	  { "a ecdb", "a (bcde)", "a* (bcde)*", "a* (bcde)*" } },
	{ "behind FLUSH, two runs", "+++++ a bc de",
	  { "a bc de", "a (bc) (de)", "a* (bc)* (de)*", "a* (bc)* (de)*" } },
	{ "behind FLUSH, a run and one that is alone", "+++++ a bcd e",
	  { "a bcd e", "a (bcd) e", "a* (bcd)* e*", "a* (bcd)* e*" } },
	{ "behind FLUSH, made available later", "++ a ++ bcd",
	  { "a bcd", "a (bcd)", "a* (bcd)*", "a* (bcd)*" } },

	{ "backwards", "+++ c b a",
	  { "c b a", ". . (abc)", "c b a", ". . a*(bc)*" } },
	{ "backwards, behind FLUSH", "++++ a d c b",
	  { "a d c b", "a . . (bcd)", "a* d c b", "a* . . (bcd)*" } },
	{ "one too early", "++++ a c b d",
	  { "a c b d", "a . (bc) d", "a* c b d*", "a* . (bc)* d*" } },
	{ "one too early, with the run before it", "+++++ a cbe d",
	  { "a cbe d", "a (bc) (de)", "a* (bc)*e d", "a* (bc)* (de)*" } },
	{ "two too early, in one call", "+++++ a ed cb",
	  { "a ed cb", "a . (bcde)", "a* ed bc", "a* . (bcde)*" } },
	/* A later one was used, so nothing is FLUSH until the oldest is later than that. */
	{ "the latest first", "+++++ e a b c d + f",
	  { "e a b c d f", ". a b c (de) f", "e a b c d f*", ". a* b* c* (de)* f*" } },
	{ "the latest first, then all", "+++++ e abcd ++ fg",
	  { "e abcd fg", ". (abcde) (fg)", "e abcd f*g*", ". a*(bcde)* (fg)*" } },
	{ "the hole closed by the latest", "+++++ a c bde",
	  { "a c bde", "a . (bcde)", "a* c bd*e*", "a* . (bcde)*" } },
	{ "no batch behind an entry without FLUSH", "++++++ a c b def",
	  { "a c b def", "a . (bc) (def)", "a* c b d*(ef)*", "a* . (bc)* (def)*" } },
	{ "an early one between two runs", "+++++++ abc f de g",
	  { "abc f de g", "(abc) . (def) g", "a*(bc)* f de g*", "a*(bc)* . (def)* g*" } },

	/* One that is not written completely ends its run. */
	{ "short, alone", "++ a- b0",
	  { "a- b0", "a- b0", "a-* b0*", "a-* b0*" } },
	{ "short in a run", "++++++ a bc-def",
	  { "a bc-def", "a (bc-)(def)", "a* (bc-)*(def)*", "a* (bc-)*(def)*" } },
	{ "short at the end of a run", "+++ a bc0",
	  { "a bc0", "a (bc0)", "a* (bc0)*", "a* (bc0)*" } },
	{ "short, one after the other", "+++++ a b-c0d-e",
	  { "a b-c0d-e", "a b-c0d-e", "a* b-*c0*d-*e*", "a* b-*c0*d-*e*" } },
	{ "short, the first after a start", "+++ a-bc",
	  { "a-bc", "a-(bc)", "a-*(bc)*", "a-*(bc)*" } },
	{ "short, too early", "+++ b- a c",
	  { "b- a c", ". (ab-) c", "b- a c*", ". a*b-* c*" } },

	{ "started again behind FLUSH", "+++ a bc ! +++ def",
	  { "a bc def", "a (bc) (def)", "a* (bc)* d*(ef)*", "a* (bc)* d*(ef)*" } },
	{ "started again behind none", "++ b a ! ++ cd",
	  { "b a cd", ". (ab) (cd)", "b a c*d*", ". a*b* c*d*" } },
	{ "started again with nothing done", "! + a",
	  { "a", "a", "a*", "a*" } },
};

/* A row, a layout and a rule. */
#define NR_PARAMS	(ARRAY_SIZE(rows) * VIRTQ_NR_LAYOUTS * NR_RULES)

struct script {
	const struct row *row;
	enum virtq_layout layout;
	enum rule rule;
};

/* Only where in here a parameter is says something. */
static const u8 params[NR_PARAMS];

static struct script get_script(const u8 *param)
{
	unsigned int i = param - params;

	return (struct script){ .row = &rows[i / (VIRTQ_NR_LAYOUTS * NR_RULES)],
				.layout = i / NR_RULES % VIRTQ_NR_LAYOUTS,
				.rule = i % NR_RULES };
}

static void describe(const u8 *param, char *desc)
{
	struct script s = get_script(param);

	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s%s: %s",
		 s.layout == VIRTQ_PACKED ? "packed" : "split", rule_names[s.rule], s.row->name);
}

KUNIT_ARRAY_PARAM(script, params, describe);

struct run {
	struct guest *g;
	struct kunit *test;
	struct virtq_chain chain[MAX_BUFFERS];
	unsigned int nr;		/* buffers there were */
	unsigned int at;		/* the used position, not reduced */
};

/* The length of the buffer @buf if @how follows it; true if that says something. */
static bool get_len(char how, unsigned int buf, u32 *len)
{
	*len = how == '0' ? 0 : FULL(buf) - (how == '-');
	return how == '0' || how == '-';
}

static void fetch_one(struct run *r)
{
	struct guest *g = r->g;
	unsigned int slots = 1 + r->nr % 3;
	struct virtq_seg segs[3];

	KUNIT_ASSERT_LT(r->test, r->nr, (unsigned int)MAX_BUFFERS);
	guest_make_segs(segs, slots - 1, 1, r->nr);
	segs[slots - 1].len = FULL(r->nr);
	KUNIT_ASSERT_TRUE(r->test, guest_add(g, segs, slots, slots) >= 0);
	guest_expose(g);
	KUNIT_ASSERT_EQ(r->test, virtq_fetch(&g->vq, &r->chain[r->nr]), 1);
	r->nr++;
}

/* One call of virtq_publish(), with what the word says. */
static bool publish(struct run *r, const char *word)
{
	struct virtq_done done[MAX_BUFFERS];
	unsigned int n = 0;

	for (; *word && *word != ' '; word++) {
		unsigned int buf = *word - 'a';

		if (*word == '.')
			continue;
		KUNIT_ASSERT_LT(r->test, buf, r->nr);
		done[n] = (struct virtq_done){ .id = r->chain[buf].id,
					       .ndesc = r->chain[buf].ndesc };
		word += get_len(word[1], buf, &done[n++].len);
	}
	return virtq_publish(&r->g->vq, done, n);
}

/* What an entry looks like, in a copy of the ring; it is for @n buffers and @slots slots. */
static void expect_entry(struct run *r, u8 *image, u16 id, u32 len, bool flush, unsigned int n,
			 unsigned int slots)
{
	struct guest *g = r->g;

	if (g->cfg.layout == VIRTQ_PACKED) {
		struct vring_packed_desc *ring = (void *)image, *d = &ring[r->at % PACKED_NUM];
		u16 flags = guest_used_slot_flags(!(r->at / PACKED_NUM & 1));

		flags |= (len ? VRING_DESC_F_WRITE : 0) | (flush ? VIRTQ_DESC_F_FLUSH : 0);
		d->id = cpu_to_le16(id);
		d->len = cpu_to_le32(len);
		d->flags = cpu_to_le16(flags);
		r->at += slots;
		return;
	}
	((__le16 *)&image[4 + r->at % SPLIT_NUM * 8])[0] = cpu_to_le16(id);
	((__le16 *)&image[4 + r->at % SPLIT_NUM * 8])[1] = cpu_to_le16(flush ? 0x8000 : 0);
	*(__le32 *)&image[4 + r->at % SPLIT_NUM * 8 + 4] = cpu_to_le32(len);
	r->at += n;
	*(__le16 *)&image[2] = cpu_to_le16(r->at);
}

/* All entries of a word. True if there are any. */
static bool expect_entries(struct run *r, u8 *image, const char *word)
{
	unsigned int n = 0, slots = 0;
	bool open = false, any = false;

	for (; *word && *word != ' '; word++) {
		unsigned int buf = *word - 'a';
		bool flush;
		u32 len;

		if (*word == '(' || *word == '.') {
			open = *word == '(';
			continue;
		}
		KUNIT_ASSERT_LT(r->test, buf, r->nr);
		word += get_len(word[1], buf, &len);
		n++;
		slots += r->chain[buf].ndesc;
		if (open && word[1] != ')')
			continue;
		word += open;
		flush = word[1] == '*';
		word += flush;
		expect_entry(r, image, r->chain[buf].id, len, flush, n, slots);
		any = true;
		open = false;
		n = 0;
		slots = 0;
	}
	return any;
}

/* And the driver makes of them what the word says, each buffer with its length. */
static void expect_reaped(struct run *r, const char *word)
{
	struct kunit *test = r->test;
	u32 want, len;
	u16 id;

	for (; *word && *word != ' '; word++) {
		if (strchr("().*", *word))
			continue;
		KUNIT_ASSERT_EQ(test, guest_reap(r->g, &id, &len), 1);
		KUNIT_EXPECT_EQ(test, id, r->chain[*word - 'a'].id);
		word += get_len(word[1], *word - 'a', &want);
		KUNIT_EXPECT_EQ(test, len, want);
	}
	KUNIT_EXPECT_EQ(test, guest_reap(r->g, &id, &len), 0);
}

static const char *next_word(const char *word)
{
	word += strcspn(word, " ");
	return word + strspn(word, " ");
}

static void used_entries(struct kunit *test)
{
	const struct script s = get_script(test->param_value);
	const bool packed = s.layout == VIRTQ_PACKED;
	const char *call = s.row->calls, *used = s.row->used[s.rule];
	struct run *r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	unsigned int size;
	u8 *image, *area;

	KUNIT_ASSERT_NOT_NULL(test, r);
	r->test = test;
	r->g = guest_new(test, &(struct guest_opts){
		.layout = s.layout,
		.num = packed ? PACKED_NUM : SPLIT_NUM,
		.start = START,
		.in_order = s.rule == RULE_IN_ORDER || s.rule == RULE_BOTH,
		.partial_order = s.rule == RULE_PARTIAL || s.rule == RULE_BOTH,
	});
	r->at = START;
	area = packed ? r->g->cfg.desc : r->g->cfg.device;
	size = packed ? 16 * PACKED_NUM : 6 + 8 * SPLIT_NUM;
	image = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, image);

	for (; *call; call = next_word(call)) {
		bool any;

		if (*call == '!') {
			guest_restart(r->g);
			continue;
		}
		if (*call == '+') {
			for (; *call == '+'; call++)
				fetch_one(r);
			continue;
		}
		KUNIT_ASSERT_TRUE(test, *used);
		memcpy(image, area, size);
		any = expect_entries(r, image, used);
		KUNIT_EXPECT_EQ(test, publish(r, call), any);
		KUNIT_EXPECT_MEMEQ(test, area, image, size);
		expect_reaped(r, used);
		used = next_word(used);
	}
	KUNIT_EXPECT_FALSE(test, *used);
	guest_expect_idle(r->g);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(used_entries, script_gen_params),
	{}
};

static struct kunit_suite virtq_used_suite = {
	.name = "virtq_used",
	.test_cases = cases,
};

kunit_test_suite(virtq_used_suite);
