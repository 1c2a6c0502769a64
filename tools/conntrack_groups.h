/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernel/netlink/conntrack.py and the C code behind it share: connection tracking entries, summed into groups.
 * This header owns the layout: the Python extension is compiled from it.
 */
#ifndef WHODUNNET_CONNTRACK_GROUPS_H
#define WHODUNNET_CONNTRACK_GROUPS_H

#define AGE_CLASSES 12
#define FLOW_STATES 16
#define FLOW_PROTOCOLS 256
#define FLOW_LEVELS 3 /* 0: all there is, 1: without destination port, 2: without destination */
#define FLOW_GROUPS_MAX 16384
#define MERGED_GROUPS_MAX 4096 /* of each further level */

enum flow_flags { FLOW_REPLIED = 1, FLOW_ASSURED = 2, FLOW_OFFLOADED = 4, FLOW_DNAT = 8, FLOW_SNAT = 16 };
enum flow_end { FLOW_GO_ON, FLOW_DONE, FLOW_BROKEN };

/* What the entries of a group share. IPv4 addresses are in the first four bytes; ports are in host order. */
struct flow {
	unsigned char source[16];
	unsigned char destination[16];
	unsigned char answered_by[16]; /* with FLOW_DNAT */
	unsigned char source_as[16]; /* with FLOW_SNAT */
	unsigned short destination_port;
	unsigned short answered_port; /* with FLOW_DNAT */
	unsigned short zone;
	unsigned char family; /* 4 or 6 */
	unsigned char protocol; /* IPPROTO_ */
	unsigned char state; /* of its protocol, 0 for those without states */
	unsigned char flags;
	unsigned char level;
	unsigned char padding[5];
};

struct flow_group {
	struct flow flow;
	unsigned long long entries;
	unsigned long long idle_seconds; /* of those in ages */
	unsigned int ages[AGE_CLASSES]; /* entries by idle time, without those whose idle time is unknown */
};

struct flow_slot {
	unsigned int hash;
	unsigned int number; /* of the group, from 1; 0: free */
};

struct flow_level {
	struct flow_slot *slots;
	struct flow_group *groups;
	unsigned int mask; /* number of slots - 1 */
	unsigned int used;
	unsigned int max;
};

struct flow_table {
	/* set before use */
	unsigned long long seed;
	unsigned int sequence; /* of the request whose answers are taken */
	unsigned int ages_below[AGE_CLASSES - 1]; /* upper bounds in seconds */
	unsigned int tcp_short; /* a TCP entry may have been given so few seconds instead of those of its state */
	unsigned int timeouts[FLOW_PROTOCOLS]
			     [FLOW_STATES]; /* seconds, 0: unknown; without states: 1 if assured, else 0 */

	/* filled */
	unsigned long long records; /* entries met, malformed ones too */
	unsigned long long malformed;
	unsigned long long other_entries; /* that found no room in any level */
	unsigned long long interrupted; /* messages that the kernel marked as inconsistent */
	int error; /* 0 or what the kernel said at the end, a negative errno */
	struct flow_level levels[FLOW_LEVELS];
};

#endif
