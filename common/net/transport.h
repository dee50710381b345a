/* SPDX-License-Identifier: Apache-2.0 */
/* transport - a non-blocking socket, plain or TLS, behind one small interface. Loop thread only (a
 * tls_context: any thread). */
#ifndef COMMON_NET_TRANSPORT_H
#define COMMON_NET_TRANSPORT_H

#include "common/base/base.h"

#include <sys/uio.h>

struct ssl_st;
struct tls_context;

enum tls_client_auth { TLS_CLIENT_AUTH_NONE, TLS_CLIENT_AUTH_REQUESTED, TLS_CLIENT_AUTH_REQUIRED };
struct tls_options {
    bool is_server;
    const char *certificate_path; /* PEM chain; NULL: none (clients) */
    const char *key_path;         /* PEM; NULL: in certificate_path */
    const char *key_password;     /* NULL: none */
    const char *trust_path;       /* PEM of CAs; NULL: the system's */
    enum tls_client_auth client_auth;
    bool verify_host_name; /* clients */
    bool no_tls12, no_tls13;
    /* the only ones that are allowed, by their IANA names (TLS_AES_128_GCM_SHA256), best first;
     * count 0: OpenSSL's choice. A TLS version of which there is none is not offered. */
    const char *const *cipher_suites;
    int cipher_suite_count;
};
/* INVALID with text: a file cannot be used. */
/* Whether a file can be PEM, or PKCS12 if that is taken: INVALID with text for a Java key store
 * (JKS), and for PKCS12, each with the command that converts it, and for a file that cannot be
 * read. what names its role: "certificate chain". */
NODISCARD enum err tls_check_store(const char *what, const char *path, bool takes_pkcs12,
                                   struct errtext *why);
NODISCARD enum err tls_context_new(const struct tls_options *o, struct tls_context **out,
                                   struct errtext *why);
void tls_context_free(struct tls_context **t);

enum io_status { IO_OK, IO_AGAIN, IO_EOF, IO_FAILED };

struct transport {
    int fd;             /* -1: none */
    struct ssl_st *ssl; /* NULL: plain */
    bool wants_write;   /* TLS: the handshake or a read needs the socket writable first */
    bool is_shaken;     /* handshake done; plain: true from the start */
    int errnum;         /* of the last IO_FAILED; 0 for TLS failures */
};
/* Takes fd, makes it non-blocking. host_name: for clients' SNI and verification, may be NULL.
 * False: no memory; fd is closed. */
NODISCARD bool transport_init(struct transport *t, int fd, struct tls_context *tls,
                              const char *host_name);
void transport_fini(struct transport *t); /* closes */
/* Goes on with the handshake: OK when done, AGAIN (see wants_write), EOF, FAILED. */
enum io_status transport_shake(struct transport *t);
/* Reads the bytes that are there. OK with *got less than the room: the socket is empty. */
enum io_status transport_readv(struct transport *t, const struct iovec *iov, int count,
                               size_t *got);
/* Has TLS decrypted bytes that no socket event will tell of? */
bool transport_has_buffered(const struct transport *t);
/* more: other data follow at once, do not send a short packet. OK with *put < all: full, try later.
 */
enum io_status transport_writev(struct transport *t, const struct iovec *iov, int count, bool more,
                                size_t *put);
/* Sends len bytes of file_fd from position. OK with *put 0: the file ended before position. */
enum io_status transport_sendfile(struct transport *t, int file_fd, int64_t position, size_t len,
                                  size_t *put);
/* The subject of the peer's certificate as "CN=...,O=..." into out; "" without one. */
void transport_peer_subject(const struct transport *t, char *out, size_t out_size);

#endif
