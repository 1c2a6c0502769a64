/* SPDX-License-Identifier: GPL-2.0-only */
/* The address of a socket as a number, by which programs remember it. */
#ifndef WHODUNNET_ADDRESS_OF_BPF_H
#define WHODUNNET_ADDRESS_OF_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

/*
 * The verifier lets nobody calculate with a pointer to a socket, but it forgets that it is one where a byte of it is
 * written on the stack: with what all addresses of the kernel have there.
 */
static __always_inline __u64 address_of(const struct sock *sk)
{
	volatile union {
		const struct sock *pointer;
		__u64 number;
		__u8 bytes[sizeof(__u64)];
	} address;

	address.pointer = sk;
	address.bytes[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 7 : 0] = 0xff;
	return address.number;
}

#endif
