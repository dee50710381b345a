/* SPDX-License-Identifier: Apache-2.0 */
/* clock - the only places that read time. Any thread. Cores never call these: time comes to them in
 * events. */
#ifndef COMMON_BASE_CLOCK_H
#define COMMON_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ms(void); /* for deadlines: never jumps */
int64_t clock_mono_us(void);
int64_t clock_wall_ms(void); /* for timestamps in records and znodes: Unix time */

#endif
