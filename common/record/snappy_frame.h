/* SPDX-License-Identifier: Apache-2.0 */
/* snappy_frame - constants of the xerial snappy stream: an 8-byte magic, two int32 versions, then
 * blocks of int32 length and a raw snappy block. Shared by compress.c and unpack.c. */
#ifndef COMMON_RECORD_SNAPPY_FRAME_H
#define COMMON_RECORD_SNAPPY_FRAME_H

#define SNAPPY_FRAME_MAGIC "\x82SNAPPY\0"
enum { SNAPPY_FRAME_MAGIC_BYTES = 8, SNAPPY_FRAME_HEADER_BYTES = 16, SNAPPY_FRAME_VERSION = 1 };

#endif
