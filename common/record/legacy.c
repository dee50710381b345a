/* SPDX-License-Identifier: Apache-2.0 */
/* Message formats 0 and 1. */
#include "common/record/legacy.h"

#include <zlib.h>

bool legacy_crc_is_right(const uint8_t *message, size_t total)
{
    enum { AT_CRC = 12, AT_MAGIC = 16 };

    ASSERT(total > AT_MAGIC);
    return be32_load(message + AT_CRC) ==
           (uint32_t)crc32_z(0, message + AT_MAGIC, total - AT_MAGIC);
}
