/* SPDX-License-Identifier: Apache-2.0 */
/* The C side of whodunnet.kernel.netlink._conntrack: a dump of a million entries, summed as it comes in. */
#include "conntrack_groups.h"
#include "conntrack_record.h"
#include <stdlib.h>

#define ENTRY_MESSAGE (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW)
#define PROBES_MAX 64 /* a chain this long is as good as a full table */
#define WORDS (sizeof(struct flow) / sizeof(unsigned long long))

_Static_assert(sizeof(struct flow) % sizeof(unsigned long long) == 0, "a key is hashed by words");

static void close_flows(struct flow_table *table)
{
	if (!table)
		return;
	for (int i = 0; i < FLOW_LEVELS; i++) {
		free(table->levels[i].slots);
		free(table->levels[i].groups);
	}
	free(table);
}

/* An empty table, NULL without memory. Pages are touched only as groups come. */
static struct flow_table *open_flows(unsigned long long seed)
{
	struct flow_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->seed = seed;
	for (int i = 0; i < FLOW_LEVELS; i++) {
		struct flow_level *level = &table->levels[i];

		level->max = i ? MERGED_GROUPS_MAX : FLOW_GROUPS_MAX;
		level->mask = 2 * level->max - 1;
		level->slots = calloc(2 * level->max, sizeof(*level->slots));
		level->groups = calloc(level->max, sizeof(*level->groups));
		if (!level->slots || !level->groups) {
			close_flows(table);
			return NULL;
		}
	}
	return table;
}

/* Seeded, so that who picks addresses and ports cannot pick a chain; PROBES_MAX holds whatever happens. */
static unsigned int hash_flow(const struct flow *flow, unsigned long long seed)
{
	unsigned long long words[WORDS], hash = seed;

	memcpy(words, flow, sizeof(words));
	for (unsigned int i = 0; i < WORDS; i++) {
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 32;
	}
	return hash ^ hash >> 29;
}

/* The group of a flow in one level, made if it is new; NULL if there is no room. */
static struct flow_group *find_group(struct flow_level *level, const struct flow *flow, unsigned long long seed)
{
	unsigned int hash = hash_flow(flow, seed), at = hash & level->mask;
	struct flow_group *group;

	for (int probes = 0; probes < PROBES_MAX; probes++, at = (at + 1) & level->mask) {
		struct flow_slot *slot = &level->slots[at];

		if (!slot->number) {
			if (level->used == level->max)
				return NULL;
			group = &level->groups[level->used++];
			group->flow = *flow;
			*slot = (struct flow_slot){hash, level->used};
			return group;
		}
		group = &level->groups[slot->number - 1];
		if (slot->hash == hash && !memcmp(&group->flow, flow, sizeof(*flow)))
			return group;
	}
	return NULL;
}

/* Leave out what the next level does not tell apart. */
static void merge(struct flow *flow)
{
	flow->level++;
	flow->destination_port = flow->answered_port = 0;
	memset(flow->answered_by, 0, sizeof(flow->answered_by));
	if (flow->level == FLOW_LEVELS - 1)
		memset(flow->destination, 0, sizeof(flow->destination));
}

static int has_states(unsigned char protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_SCTP || protocol == IPPROTO_DCCP;
}

/*
 * Whole seconds since the last packet, or NEVER. The kernel sets the timeout of the state at each packet, and gives
 * what is left of it rounded down. Of TCP it may have set a shorter one (tcp_short; nf_conntrack_tcp_packet), so that
 * little time left may mean a packet a moment ago as well as long silence.
 */
static long long idle_of(const struct flow_table *table, const struct flow *flow, long long remaining)
{
	unsigned int state = has_states(flow->protocol) ? flow->state : !!(flow->flags & FLOW_ASSURED);
	long long limit = state < FLOW_STATES ? table->timeouts[flow->protocol][state] : 0;

	if (remaining < 0 || !limit || remaining > limit)
		return NEVER;
	if (flow->protocol == IPPROTO_TCP && limit > table->tcp_short && remaining <= table->tcp_short)
		return NEVER;
	return remaining == limit ? 0 : limit - remaining - 1;
}

static void add_idle(const struct flow_table *table, struct flow_group *group, long long idle)
{
	int class = 0;

	if (idle < 0)
		return;
	while (class < AGE_CLASSES - 1 && idle >= table->ages_below[class])
		class ++;
	group->ages[class]++;
	group->idle_seconds += idle;
}

/* Sum one entry into the finest group that there is room for. remaining: seconds until it ends, or -1. */
static void add_flow(struct flow_table *table, const struct flow *flow, long long remaining)
{
	long long idle = idle_of(table, flow, remaining);
	struct flow key = *flow;

	table->records++;
	for (int i = 0; i < FLOW_LEVELS; i++) {
		struct flow_group *group = find_group(&table->levels[i], &key, table->seed);

		if (group) {
			group->entries++;
			add_idle(table, group, idle);
			return;
		}
		merge(&key);
	}
	table->other_entries++;
}

static void add_record(struct flow_table *table, const unsigned char *body, unsigned int bytes)
{
	struct flow flow;
	long long remaining;

	if (!read_record(body, bytes, &flow, &remaining)) {
		add_flow(table, &flow, remaining);
		return;
	}
	table->records++;
	table->malformed++;
}

/* Takes NLMSG_DONE, which carries the dump's return value, and NLMSG_ERROR, whose first member it is. */
static enum flow_end end_of(struct flow_table *table, const unsigned char *body, unsigned int bytes, int is_error)
{
	if (is_error && bytes < sizeof(int))
		return FLOW_BROKEN;
	table->error = bytes < sizeof(int) ? 0 : (int)native32(body);
	return FLOW_DONE;
}

/* Every message of one datagram. FLOW_BROKEN: a length points outside, and what follows cannot be found. */
static enum flow_end add_datagram(struct flow_table *table, const void *data, size_t size)
{
	const unsigned char *at = data, *end = at + size;
	struct nlmsghdr header;

	while (at < end) {
		const unsigned char *body = at + sizeof(header);
		size_t left = end - at, aligned;

		if (left < sizeof(header))
			return FLOW_BROKEN;
		memcpy(&header, at, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > left)
			return FLOW_BROKEN;
		aligned = NLMSG_ALIGN((size_t)header.nlmsg_len);
		at += aligned < left ? aligned : left;
		if (header.nlmsg_seq != table->sequence)
			continue;
		table->interrupted += !!(header.nlmsg_flags & NLM_F_DUMP_INTR);
		if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR)
			return end_of(table, body, header.nlmsg_len - sizeof(header), header.nlmsg_type == NLMSG_ERROR);
		if (header.nlmsg_type == ENTRY_MESSAGE)
			add_record(table, body, header.nlmsg_len - sizeof(header));
	}
	return FLOW_GO_ON;
}
