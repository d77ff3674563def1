/* SPDX-License-Identifier: GPL-2.0 */
/* Byte order of modern virtio devices: little-endian, and so is every machine this builds on. */
#ifndef _NATIVE_LINUX_VIRTIO_BYTEORDER_H
#define _NATIVE_LINUX_VIRTIO_BYTEORDER_H

#include <linux/types.h>
#include <endian.h>

#define le16_to_cpu(x)	le16toh(x)
#define le32_to_cpu(x)	le32toh(x)
#define le64_to_cpu(x)	le64toh(x)
#define cpu_to_le16(x)	htole16(x)
#define cpu_to_le32(x)	htole32(x)
#define cpu_to_le64(x)	htole64(x)

#define __virtio16_to_cpu(le, x)	((void)(le), le16toh(x))
#define __virtio32_to_cpu(le, x)	((void)(le), le32toh(x))
#define __virtio64_to_cpu(le, x)	((void)(le), le64toh(x))
#define __cpu_to_virtio16(le, x)	((void)(le), htole16(x))
#define __cpu_to_virtio32(le, x)	((void)(le), htole32(x))
#define __cpu_to_virtio64(le, x)	((void)(le), htole64(x))

#endif
