/* SPDX-License-Identifier: Apache-2.0 */
/* describe_user_scram_credentials - DescribeUserScramCredentials (50) and AlterUserScramCredentials
 * (51). There is no SASL, so no user has credentials and none can be set; what is wrong with a
 * request is said first, as Kafka would. One result for each user, however often it is named. */
#include "broker/api/api.h"
#include "broker/api/handlers.h"
#include "common/protocol/codec.h"
#include "common/protocol/messages.h"

enum { USERS_MAX = 1000 }; /* in one request: names are compared with each other */

static const char too_many_text[] = "a request may name at most 1000 users";

/* ---- describing */

/* How often the i-th user is named, 0 when it was named before. */
static int32_t times_named(const struct kp_DescribeUserScramCredentialsRequest *req, int32_t i)
{
    int32_t times = 0;

    for (int32_t k = 0; k < req->users_count; k++) {
        if (!str_eq(req->users[k].name, req->users[i].name))
            continue;
        if (k < i)
            return 0;
        times++;
    }
    return times;
}

static void
describe_user(struct str user, int32_t times,
              struct kp_DescribeUserScramCredentialsResponse_DescribeUserScramCredentialsResult *a)
{
    a->user = user;
    a->error_code = KE_RESOURCE_NOT_FOUND;
    a->error_message = STR_LIT("the user has no SCRAM credentials");
    if (user.len == 0) {
        a->error_message = STR_LIT("the name of the user is empty");
    } else if (times > 1) {
        a->error_code = KE_DUPLICATE_RESOURCE;
        a->error_message = STR_LIT("the user is named twice");
    }
}

void api_describe_user_scram_credentials(struct request *r)
{
    const struct kp_DescribeUserScramCredentialsRequest *req = r->body;
    struct kp_DescribeUserScramCredentialsResponse a;
    int32_t count = i32_max(req->users_count, 0);

    kp_defaults(&kp_DescribeUserScramCredentialsResponse_schema, &a);
    a.error_message = STR_LIT("");
    if (count > USERS_MAX) {
        a.error_code = KE_INVALID_REQUEST;
        a.error_message = str_of(too_many_text);
        count = 0;
    }
    a.results = api_alloc(r, (size_t)count, sizeof *a.results);
    if (a.results == NULL) {
        api_no_memory(r);
        return;
    }
    for (int32_t i = 0; i < count; i++) {
        int32_t times = times_named(req, i);
        if (times > 0)
            describe_user(req->users[i].name, times, &a.results[a.results_count++]);
    }
    request_reply(r, &a);
}

/* ---- altering */

enum { SCRAM_SHA_256 = 1, SCRAM_SHA_512 = 2 };

static bool is_mechanism(int8_t mechanism)
{
    return mechanism == SCRAM_SHA_256 || mechanism == SCRAM_SHA_512;
}

static int16_t
deletion_check(const struct kp_AlterUserScramCredentialsRequest_ScramCredentialDeletion *d,
               const char **text_out)
{
    if (d->name.len == 0) {
        *text_out = "the name of the user is empty";
        return KE_UNACCEPTABLE_CREDENTIAL;
    }
    if (!is_mechanism(d->mechanism)) {
        *text_out = "the mechanism is 1 (SCRAM-SHA-256) or 2 (SCRAM-SHA-512)";
        return KE_UNSUPPORTED_SASL_MECHANISM;
    }
    *text_out = "the user has no SCRAM credentials";
    return KE_RESOURCE_NOT_FOUND;
}

static int16_t
upsertion_check(const struct kp_AlterUserScramCredentialsRequest_ScramCredentialUpsertion *u,
                const char **text_out)
{
    enum { ITERATIONS_MIN = 4096, ITERATIONS_MAX = 16384 }; /* Kafka's */

    if (u->name.len == 0) {
        *text_out = "the name of the user is empty";
        return KE_UNACCEPTABLE_CREDENTIAL;
    }
    if (!is_mechanism(u->mechanism)) {
        *text_out = "the mechanism is 1 (SCRAM-SHA-256) or 2 (SCRAM-SHA-512)";
        return KE_UNSUPPORTED_SASL_MECHANISM;
    }
    if (u->iterations < ITERATIONS_MIN || u->iterations > ITERATIONS_MAX) {
        *text_out = "the iterations are from 4096 to 16384";
        return KE_UNACCEPTABLE_CREDENTIAL;
    }
    *text_out = "SASL is not supported by this version: nobody could log in with the credentials";
    return KE_UNSUPPORTED_SASL_MECHANISM;
}

struct results {
    struct kp_AlterUserScramCredentialsResponse answer;
    int8_t mechanisms[USERS_MAX]; /* of the first alteration of each user */
};

/* One result for each user: that of its first alteration, unless the same one comes twice. */
static void add_result(struct results *s, struct str user, int8_t mechanism, int16_t error,
                       const char *text)
{
    struct kp_AlterUserScramCredentialsResponse *a = &s->answer;

    for (int32_t i = 0; i < a->results_count; i++) {
        if (!str_eq(a->results[i].user, user))
            continue;
        if (s->mechanisms[i] == mechanism) {
            a->results[i].error_code = KE_DUPLICATE_RESOURCE;
            a->results[i].error_message = STR_LIT("the user's credentials are altered twice");
        }
        return;
    }
    ASSERT(a->results_count < USERS_MAX);
    s->mechanisms[a->results_count] = mechanism;
    a->results[a->results_count++] =
        (struct kp_AlterUserScramCredentialsResponse_AlterUserScramCredentialsResult){
            .user = user, .error_code = error, .error_message = str_of(text)};
}

void api_alter_user_scram_credentials(struct request *r)
{
    const struct kp_AlterUserScramCredentialsRequest *req = r->body;
    struct results s;
    size_t deletions = (size_t)i32_max(req->deletions_count, 0),
           upsertions = (size_t)i32_max(req->upsertions_count, 0);
    const char *text;

    kp_defaults(&kp_AlterUserScramCredentialsResponse_schema, &s.answer);
    if (deletions + upsertions > USERS_MAX) { /* the answer has no place for an error of its own */
        request_close(r, too_many_text);
        return;
    }
    s.answer.results = api_alloc(r, deletions + upsertions, sizeof *s.answer.results);
    if (s.answer.results == NULL) {
        api_no_memory(r);
        return;
    }
    for (size_t i = 0; i < deletions; i++) {
        int16_t error = deletion_check(&req->deletions[i], &text);
        add_result(&s, req->deletions[i].name, req->deletions[i].mechanism, error, text);
    }
    for (size_t i = 0; i < upsertions; i++) {
        int16_t error = upsertion_check(&req->upsertions[i], &text);
        add_result(&s, req->upsertions[i].name, req->upsertions[i].mechanism, error, text);
    }
    request_reply(r, &s.answer);
}
