/* SPDX-License-Identifier: Apache-2.0 */
/* legacy - message formats 0 and 1: offset 8, size 4, CRC-32 4, magic 1, attributes 1, (magic 1:
 * timestamp 8), key and value each with an int32 length. Any thread; no state. */
#ifndef COMMON_RECORD_LEGACY_H
#define COMMON_RECORD_LEGACY_H

#include "common/record/batch.h"

/* Is the CRC of a whole message (BATCH_LEGACY by batch_peek, of total bytes) right? What looks like
 * a message and has the wrong one is junk. */
bool legacy_crc_is_right(const uint8_t *message, size_t total);

#endif
