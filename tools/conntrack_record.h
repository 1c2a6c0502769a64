/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ctnetlink record (uapi linux/netfilter/nfnetlink_conntrack.h; net/netfilter/nf_conntrack_netlink.c:
 * ctnetlink_fill_info), decoded into struct flow. Every length is checked before a byte is read.
 */
#ifndef WHODUNNET_CONNTRACK_RECORD_H
#define WHODUNNET_CONNTRACK_RECORD_H

#include "conntrack_groups.h"
#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define PORTS_BYTES 28 /* CTA_TUPLE_PROTO of protocols with ports, with its header */
#define STATUS_OFFLOAD (1u << 14) /* IPS_OFFLOAD; both are newer than some headers we are compiled with */
#define STATUS_HW_OFFLOAD (1u << 15)
#define NEVER (-1LL)

enum { HAS_SOURCE = 1, HAS_DESTINATION = 2, HAS_PROTOCOL = 4, HAS_ADDRESSES = 3, HAS_ALL = 7 };

struct tuple {
	const unsigned char *source;
	const unsigned char *destination;
	unsigned short source_port;
	unsigned short destination_port;
	unsigned short zone;
	unsigned char protocol;
	unsigned char has;
};

struct record {
	struct tuple original;
	struct tuple reply;
	unsigned int status;
	unsigned short zone;
	unsigned char state;
	unsigned char has_status;
	long long remaining; /* seconds until it ends, NEVER where the kernel does not tell (offloaded) */
};

struct attribute {
	const unsigned char *data;
	unsigned int size;
	unsigned int type;
};

static unsigned int native16(const unsigned char *at)
{
	unsigned short value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static unsigned int native32(const unsigned char *at)
{
	unsigned int value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* The attribute at *at, which moves on to the next: 1, 0 at the end, -1 where a length points outside. */
static int next_attribute(const unsigned char **at, const unsigned char *end, struct attribute *found)
{
	unsigned int left = end - *at, length;

	if (!left)
		return 0;
	if (left < NLA_HDRLEN)
		return -1;
	length = native16(*at);
	if (length < NLA_HDRLEN || length > left)
		return -1;
	found->data = *at + NLA_HDRLEN;
	found->size = length - NLA_HDRLEN;
	found->type = native16(*at + 2) & NLA_TYPE_MASK;
	*at += NLA_ALIGN(length) < left ? NLA_ALIGN(length) : left;
	return 1;
}

static int read_addresses(const struct attribute *nest, unsigned int size, struct tuple *tuple)
{
	const unsigned char *at = nest->data, *end = nest->data + nest->size;
	unsigned int source = size == 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC;
	unsigned int destination = size == 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST;
	struct attribute found;
	int more;

	while ((more = next_attribute(&at, end, &found)) > 0) {
		if (found.type != source && found.type != destination)
			continue;
		if (found.size != size)
			return -1;
		if (found.type == source)
			tuple->source = found.data;
		else
			tuple->destination = found.data;
		tuple->has |= found.type == source ? HAS_SOURCE : HAS_DESTINATION;
	}
	return more;
}

static int read_protocol(const struct attribute *nest, struct tuple *tuple)
{
	const unsigned char *at = nest->data, *end = nest->data + nest->size;
	struct attribute found;
	int more;

	while ((more = next_attribute(&at, end, &found)) > 0) {
		if (found.type == CTA_PROTO_NUM && found.size >= 1) {
			tuple->protocol = found.data[0];
			tuple->has |= HAS_PROTOCOL;
		} else if (found.type == CTA_PROTO_SRC_PORT && found.size >= 2) {
			tuple->source_port = ntohs(native16(found.data));
		} else if (found.type == CTA_PROTO_DST_PORT && found.size >= 2) {
			tuple->destination_port = ntohs(native16(found.data));
		}
	}
	return more;
}

/* The four-byte header of an attribute as it lies in memory. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define HEADER(length, type) ((unsigned int)(length) | (unsigned int)(type) << 16)
#else
#define HEADER(length, type) ((unsigned int)(length) << 16 | (unsigned int)(type))
#endif

/* A tuple with addresses and ports, laid out as every kernel does it: 1, or 0 if it is not exactly that. */
static int read_usual_tuple(const unsigned char *at, unsigned int bytes, unsigned int size, struct tuple *tuple)
{
	unsigned int pair = NLA_HDRLEN + size; /* one address with its header */
	const unsigned char *ports = at + NLA_HDRLEN + 2 * pair;

	if (bytes != NLA_HDRLEN + 2 * pair + PORTS_BYTES)
		return 0;
	if (native32(at) != HEADER(NLA_HDRLEN + 2 * pair, NLA_F_NESTED | CTA_TUPLE_IP) ||
	    native32(at + 4) != HEADER(pair, size == 4 ? CTA_IP_V4_SRC : CTA_IP_V6_SRC) ||
	    native32(at + 4 + pair) != HEADER(pair, size == 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST) ||
	    native32(ports) != HEADER(PORTS_BYTES, NLA_F_NESTED | CTA_TUPLE_PROTO) ||
	    native32(ports + 4) != HEADER(5, CTA_PROTO_NUM) || native32(ports + 12) != HEADER(6, CTA_PROTO_SRC_PORT) ||
	    native32(ports + 20) != HEADER(6, CTA_PROTO_DST_PORT))
		return 0;
	tuple->source = at + 8;
	tuple->destination = at + 8 + pair;
	tuple->protocol = ports[8];
	tuple->source_port = ntohs(native16(ports + 16));
	tuple->destination_port = ntohs(native16(ports + 24));
	tuple->has = HAS_ALL;
	return 1;
}

static int read_tuple(const struct attribute *nest, unsigned int size, struct tuple *tuple)
{
	const unsigned char *at = nest->data, *end = nest->data + nest->size;
	struct attribute found;
	int more;

	if (read_usual_tuple(at, nest->size, size, tuple))
		return 0;
	while ((more = next_attribute(&at, end, &found)) > 0) {
		if (found.type == CTA_TUPLE_IP && read_addresses(&found, size, tuple) < 0)
			return -1;
		if (found.type == CTA_TUPLE_PROTO && read_protocol(&found, tuple) < 0)
			return -1;
		if (found.type == CTA_TUPLE_ZONE && found.size >= 2)
			tuple->zone = ntohs(native16(found.data));
	}
	return more;
}

/* The state, which is attribute 1 in CTA_PROTOINFO_TCP, _DCCP and _SCTP alike; it comes first. */
static int read_state(const struct attribute *nest, unsigned char *state)
{
	const unsigned char *at = nest->data, *end = nest->data + nest->size;
	struct attribute protocol, found;
	int more = next_attribute(&at, end, &protocol);

	if (more <= 0)
		return more;
	at = protocol.data;
	end = protocol.data + protocol.size;
	while ((more = next_attribute(&at, end, &found)) > 0) {
		if (found.type == CTA_PROTOINFO_TCP_STATE && found.size >= 1) {
			*state = found.data[0];
			return 0;
		}
	}
	return more;
}

static int read_attribute(const struct attribute *found, unsigned int size, struct record *record)
{
	switch (found->type) {
	case CTA_TUPLE_ORIG:
		return read_tuple(found, size, &record->original);
	case CTA_TUPLE_REPLY:
		return read_tuple(found, size, &record->reply);
	case CTA_PROTOINFO:
		return read_state(found, &record->state);
	case CTA_STATUS:
		if (found->size < 4)
			return -1;
		record->status = ntohl(native32(found->data));
		record->has_status = 1;
		return 0;
	case CTA_TIMEOUT:
		if (found->size < 4)
			return -1;
		record->remaining = ntohl(native32(found->data));
		return 0;
	case CTA_ZONE:
		if (found->size < 2)
			return -1;
		record->zone = ntohs(native16(found->data));
		return 0;
	default:
		return 0;
	}
}

static void describe(const struct record *record, unsigned int size, struct flow *flow)
{
	const struct tuple *original = &record->original, *reply = &record->reply;

	memset(flow, 0, sizeof(*flow));
	flow->family = size == 4 ? 4 : 6;
	flow->protocol = original->protocol;
	flow->state = record->state;
	flow->zone = record->zone ? record->zone : original->zone;
	flow->destination_port = original->destination_port;
	memcpy(flow->source, original->source, size);
	memcpy(flow->destination, original->destination, size);
	flow->flags = (record->status & IPS_SEEN_REPLY ? FLOW_REPLIED : 0) |
		      (record->status & IPS_ASSURED ? FLOW_ASSURED : 0) |
		      (record->status & (STATUS_OFFLOAD | STATUS_HW_OFFLOAD) ? FLOW_OFFLOADED : 0);
	if (memcmp(reply->source, original->destination, size) || reply->source_port != original->destination_port) {
		flow->flags |= FLOW_DNAT;
		flow->answered_port = reply->source_port;
		memcpy(flow->answered_by, reply->source, size);
	}
	if (memcmp(reply->destination, original->source, size)) {
		flow->flags |= FLOW_SNAT;
		memcpy(flow->source_as, reply->destination, size);
	}
}

/* A record after struct nlmsghdr: 0, or -1 where it lacks what every entry has, or a length points outside. */
static int read_record(const unsigned char *body, unsigned int bytes, struct flow *flow, long long *remaining)
{
	struct record record = {.remaining = NEVER};
	const unsigned char *at = body + sizeof(struct nfgenmsg), *end = body + bytes;
	struct attribute found;
	unsigned int size;
	int more;

	if (bytes < sizeof(struct nfgenmsg) || (body[0] != AF_INET && body[0] != AF_INET6))
		return -1;
	size = body[0] == AF_INET ? 4 : 16;
	while ((more = next_attribute(&at, end, &found)) > 0)
		if (read_attribute(&found, size, &record) < 0)
			return -1;
	if (more < 0 || !record.has_status || record.original.has != HAS_ALL)
		return -1;
	if ((record.reply.has & HAS_ADDRESSES) != HAS_ADDRESSES)
		return -1;
	describe(&record, size, flow);
	*remaining = record.remaining;
	return 0;
}

#endif
