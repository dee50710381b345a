/* SPDX-License-Identifier: Apache-2.0 */
/* topic_change - see topic_change.h. */
#include "broker/api/topic_change.h"

#include "controller/controller.h"

#include <stdlib.h>

const char topic_change_elsewhere_text[] =
    "this broker is not the controller; the metadata tell which one is";
const char topic_change_unseen_text[] =
    "the request was taken, but its effect was not seen in time; it goes on in the background";

bool topic_change_is_here(const struct request *r)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    return controller_is_active(r->broker->controller);
}

static int str_ptr_cmp(const void *a, const void *b)
{
    const struct str *const *x = a, *const *y = b;
    return str_cmp(**x, **y);
}

bool topic_change_duplicates(struct request *r, const struct str *names, size_t count, bool *twice)
{
    CHECK_OBJ(r, REQUEST_MAGIC);
    const struct str **sorted = api_alloc(r, count, sizeof *sorted);
    if (sorted == NULL)
        return false;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &names[i];
    qsort(sorted, count, sizeof *sorted, str_ptr_cmp);
    for (size_t i = 1; i < count; i++)
        if (str_eq(*sorted[i - 1], *sorted[i]))
            twice[sorted[i - 1] - names] = twice[sorted[i] - names] = true;
    return true;
}
