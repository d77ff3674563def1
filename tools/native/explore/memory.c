// SPDX-License-Identifier: GPL-2.0
#include <linux/minmax.h>
#include <linux/string.h>

#include "explore.h"
#include "memory.h"

u8 mem_guarded[PLACES];

unsigned int mem_choices(const struct mem *m, enum side side, unsigned int place)
{
	return m->place[place].nr - m->side[side].seen[place];
}

/* So many stores of the other side have drained. */
void mem_see(struct mem *m, enum side side, unsigned int stores)
{
	struct mem_side *s = &m->side[side];
	unsigned int i, j;

	if (stores <= s->floor)
		return;
	s->floor = stores;
	for (i = 0; i < m->places; i++) {
		const struct mem_place *p = &m->place[i];

		for (j = p->nr; j-- > s->seen[i] + 1U;) {
			if (p->value[j].by != side && p->value[j].seq <= stores) {
				s->seen[i] = j;
				break;
			}
		}
	}
}

u32 mem_do_load(struct mem *m, enum side side, unsigned int place, unsigned int choice,
		bool acquire)
{
	struct mem_side *s = &m->side[side];
	unsigned int i = s->seen[place] + choice;
	const struct mem_value *v = &m->place[place].value[i];

	s->seen[place] = i;
	if (v->by == side)
		return v->v;
	s->acquired = max(s->acquired, v->sync);
	if (acquire)
		mem_see(m, side, v->sync);
	return v->v;
}

void mem_do_store(struct mem *m, enum side side, unsigned int place, u32 v, bool release)
{
	struct mem_side *s = &m->side[side];
	struct mem_place *p = &m->place[place];
	const struct mem_value *last = &p->value[p->nr - 1];
	u8 sync = release ? s->stores : s->released;

	/* Nobody can tell whether this was stored once more. */
	if (last->by == side && last->v == v &&
	    sync <= max(last->sync, m->side[!side].floor))
		return;
	if (p->nr == VALUES || s->stores == MAX_STORES)
		ex_fail("there is no end of stores to one place");
	p->value[p->nr] = (struct mem_value){
		.v = v, .by = side, .seq = s->stores + 1, .sync = sync,
	};
	s->stores++;
	s->seen[place] = p->nr++;
}

void mem_do_mb(struct mem *m, enum side side)
{
	struct mem_side *s = &m->side[side];

	s->fenced = 1;
	s->released = s->stores;
	s->drained = s->stores;
	mem_see(m, side, max(s->acquired, m->side[!side].drained));
}

/* See mem_guarded. */
static void forget(struct mem *m, enum side reader, unsigned int place)
{
	const struct mem_place *p = &m->place[place];
	unsigned int i;

	if (m->side[reader].fenced)
		return;
	for (i = p->nr; i-- > m->side[reader].seen[place] + 1U;) {
		if (p->value[i].by != reader && p->value[i].seq <= m->side[!reader].drained) {
			m->side[reader].seen[place] = i;
			return;
		}
	}
}

void mem_normalise(struct mem *m)
{
	u8 rank[SIDES][MAX_STORES + 1];
	unsigned int i, j, k;

	for (k = 0; k < SIDES; k++)
		memset(rank[k], 0, m->side[k].stores + 1);
	for (i = 0; i < m->places; i++) {
		struct mem_place *p = &m->place[i];
		unsigned int old;

		if (mem_guarded[i])
			forget(m, mem_guarded[i] - 1, i);
		old = min(m->side[DRIVER].seen[i], m->side[DEVICE].seen[i]);

		if (old) {
			m->side[DRIVER].seen[i] -= old;
			m->side[DEVICE].seen[i] -= old;
			p->nr -= old;
			memmove(p->value, p->value + old, p->nr * sizeof(*p->value));
			memset(p->value + p->nr, 0, old * sizeof(*p->value));
		}
		for (j = 0; j < p->nr; j++) {
			struct mem_value *v = &p->value[j];

			/* Which store it was matters as long as it may be unseen. */
			if (j <= m->side[!v->by].seen[i])
				v->seq = 0;
			rank[v->by][v->seq] = 1;
		}
	}
	for (k = 0; k < SIDES; k++) {
		rank[k][0] = 0;
		for (j = 1; j <= m->side[k].stores; j++)
			rank[k][j] += rank[k][j - 1];
	}
	for (i = 0; i < m->places; i++) {
		struct mem_place *p = &m->place[i];

		for (j = 0; j < p->nr; j++) {
			struct mem_value *v = &p->value[j];

			v->seq = rank[v->by][v->seq];
			v->sync = rank[v->by][v->sync];
		}
	}
	for (k = 0; k < SIDES; k++) {
		struct mem_side *s = &m->side[k];

		s->stores = rank[k][s->stores];
		s->released = rank[k][s->released];
		s->drained = rank[k][s->drained];
		s->floor = rank[!k][s->floor];
		s->acquired = rank[!k][s->acquired];
		s->pair = rank[!k][s->pair];
		s->signal = rank[!k][s->signal];
	}
}
