/* SPDX-License-Identifier: Apache-2.0 */
/* Plain sockets go straight to the system calls. TLS goes through OpenSSL on the same socket, with
 * its buffers released when idle, and sends file ranges by pread into a buffer on the stack. */
#include "common/net/transport.h"

#include "common/base/fsx.h"
#include "common/base/slog.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TLS_RECORD_BYTES = 12 * 1024 /* in one record; on the stack */ };

struct tls_context {
    SSL_CTX *ssl_ctx;
    bool is_server;
    bool verify_host_name;
};

/* The newest OpenSSL error as text; empties the thread's error queue. */
static void ssl_error_text(char *out, size_t out_size)
{
    unsigned long e = ERR_get_error();

    if (e == 0)
        (void)snprintf(out, out_size, "unknown");
    else if (ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE)
        (void)snprintf(out, out_size, "it holds no such PEM block (-----BEGIN ...)");
    else
        ERR_error_string_n(e, out, out_size);
    ERR_clear_error();
}

static enum err set_why(struct errtext *why, const char *what, const char *path)
{
    char text[256];

    ssl_error_text(text, sizeof text);
    errtext_set(why, "%s %s: %s", what, path, text);
    return ERR_INVALID;
}

/* What the first bytes of a key store that is no PEM tell of it, and how it is converted: the name
 * of the file goes between before and after. */
static const struct store_kind {
    uint8_t head[4];
    size_t head_len;
    bool is_pkcs12;
    const char *what, *before, *after;
} store_kinds[] = {
    {{0xfe, 0xed, 0xfe, 0xed},
     4,
     false,
     "a Java key store (JKS)",
     "keytool -importkeystore -srckeystore ",
     " -destkeystore store.p12 -deststoretype PKCS12, then openssl pkcs12 -in store.p12 -out "
     "store.pem -nodes"},
    {{0xce, 0xce, 0xce, 0xce},
     4,
     false,
     "a Java key store (JCEKS)",
     "keytool -importkeystore -srcstoretype JCEKS -srckeystore ",
     " -destkeystore store.p12 -deststoretype PKCS12, then openssl pkcs12 -in store.p12 -out "
     "store.pem -nodes"},
    /* DER begins so: two bytes of length (a store), a length that is not known, three bytes */
    {{0x30, 0x82},
     2,
     true,
     "binary (a PKCS12 store?)",
     "openssl pkcs12 -in ",
     " -out store.pem -nodes"},
    {{0x30, 0x80}, 2, true, "a PKCS12 store", "openssl pkcs12 -in ", " -out store.pem -nodes"},
    {{0x30, 0x83}, 2, true, "a PKCS12 store", "openssl pkcs12 -in ", " -out store.pem -nodes"},
};

enum err tls_check_store(const char *what, const char *path, bool takes_pkcs12, struct errtext *why)
{
    uint8_t head[4] = {0};
    struct stat st;
    size_t got = 0;
    int fd = -1;
    enum err rc = fsx_open(path, O_RDONLY, 0, &fd);

    if (rc == ERR_OK && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) /* not what a pipe holds */
        rc = fsx_pread(fd, head, sizeof head, 0, &got);
    if (fd >= 0)
        (void)close(fd);
    if (rc != ERR_OK) {
        errtext_set(why, "%s %s: %s", what, path, err_reason(rc));
        return ERR_INVALID;
    }
    for (size_t i = 0; i < ARRAY_LEN(store_kinds); i++) {
        const struct store_kind *k = &store_kinds[i];

        if (got < sizeof head || memcmp(head, k->head, k->head_len) != 0 ||
            (takes_pkcs12 && k->is_pkcs12))
            continue;
        errtext_set(why, "%s %s is %s, but PEM is needed; convert it: %s%s%s", what, path, k->what,
                    k->before, path, k->after);
        return ERR_INVALID;
    }
    return ERR_OK;
}

static int give_password(char *out, int size, int for_writing UNUSED, void *password)
{
    size_t n = password == NULL ? 0 : strlen(password);

    if (n == 0 || n > (size_t)size)
        return -1;
    memcpy(out, password, n);
    return (int)n;
}

static enum err load_key(SSL_CTX *ctx, const struct tls_options *o, struct errtext *why)
{
    const char *key = o->key_path != NULL ? o->key_path : o->certificate_path;
    char *password = o->key_password == NULL ? NULL : xstrdup(o->key_password);
    enum err rc = ERR_OK;

    if (o->certificate_path != NULL)
        rc = tls_check_store("certificate chain", o->certificate_path, false, why);
    if (rc == ERR_OK && o->certificate_path != NULL && o->key_path != NULL)
        rc = tls_check_store("private key", o->key_path, false, why);
    if (o->certificate_path == NULL || rc != ERR_OK)
        goto out;
    SSL_CTX_set_default_passwd_cb(ctx, give_password);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, password);
    if (SSL_CTX_use_certificate_chain_file(ctx, o->certificate_path) != 1)
        rc = set_why(why, "certificate chain", o->certificate_path);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        rc = set_why(why, "private key", key);
    else if (SSL_CTX_check_private_key(ctx) != 1)
        rc = set_why(why, "private key does not belong to the certificate:", key);
    SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
out:
    if (password != NULL)
        OPENSSL_cleanse(password, strlen(password));
    mem_free(password);
    return rc;
}

static enum err load_trust(SSL_CTX *ctx, const struct tls_options *o, struct errtext *why)
{
    bool needs_trust = !o->is_server || o->client_auth != TLS_CLIENT_AUTH_NONE;
    int mode = SSL_VERIFY_NONE;

    if (o->trust_path != NULL) {
        if (tls_check_store("trusted certificates", o->trust_path, false, why) != ERR_OK)
            return ERR_INVALID;
        if (SSL_CTX_load_verify_locations(ctx, o->trust_path, NULL) != 1)
            return set_why(why, "trusted certificates", o->trust_path);
        if (o->is_server)
            SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(o->trust_path));
    } else if (needs_trust && SSL_CTX_set_default_verify_paths(ctx) != 1) {
        return set_why(why, "trusted certificates", "of the system");
    }
    if (!o->is_server || o->client_auth == TLS_CLIENT_AUTH_REQUESTED)
        mode = SSL_VERIFY_PEER;
    else if (o->client_auth == TLS_CLIENT_AUTH_REQUIRED)
        mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
    return ERR_OK;
}

/* Sorts the names into the two lists that OpenSSL has: its own names for TLS 1.2, the standard ones
 * for TLS 1.3, where both are the same. */
static enum err sort_suites(const struct tls_options *o, struct buf *tls12, struct buf *tls13,
                            struct errtext *why)
{
    for (int i = 0; i < o->cipher_suite_count; i++) {
        const char *name = OPENSSL_cipher_name(o->cipher_suites[i]);
        if (strcmp(name, "(NONE)") == 0) {
            errtext_set(why,
                        "ssl.cipher.suites: there is no cipher suite %s here; names are those of "
                        "IANA, for instance "
                        "TLS_AES_128_GCM_SHA256 or TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                        o->cipher_suites[i]);
            return ERR_INVALID;
        }
        struct buf *list = strcmp(name, o->cipher_suites[i]) == 0 ? tls13 : tls12;
        buf_printf(list, "%s%s", list->len == 0 ? "" : ":", name);
    }
    return ERR_OK;
}

/* The versions and, when they are restricted, the cipher suites. */
static enum err set_versions(SSL_CTX *ctx, const struct tls_options *o, struct errtext *why)
{
    struct buf tls12 = {0}, tls13 = {0};
    bool all = o->cipher_suite_count == 0;
    enum err rc = sort_suites(o, &tls12, &tls13, why);
    bool has12 = !o->no_tls12 && (all || tls12.len > 0);
    bool has13 = !o->no_tls13 && (all || tls13.len > 0);

    if (rc == ERR_OK && !has12 && !has13) {
        errtext_set(
            why,
            "ssl.cipher.suites: no cipher suite is left for the TLS versions that are allowed");
        rc = ERR_INVALID;
    }
    if (rc == ERR_OK && !all &&
        ((tls12.len > 0 && SSL_CTX_set_cipher_list(ctx, buf_cstr(&tls12)) != 1) ||
         (tls13.len > 0 && SSL_CTX_set_ciphersuites(ctx, buf_cstr(&tls13)) != 1))) {
        errtext_set(why, "ssl.cipher.suites: OpenSSL takes none of them");
        rc = ERR_INVALID;
    }
    if (rc == ERR_OK) {
        (void)SSL_CTX_set_min_proto_version(ctx, has12 ? TLS1_2_VERSION : TLS1_3_VERSION);
        (void)SSL_CTX_set_max_proto_version(ctx, has13 ? 0 : TLS1_2_VERSION);
    }
    buf_fini(&tls12);
    buf_fini(&tls13);
    return rc;
}

enum err tls_context_new(const struct tls_options *o, struct tls_context **out, struct errtext *why)
{
    static const unsigned char session_id[] = "kafuka";
    struct tls_context *t = xcalloc(1, sizeof *t);
    enum err rc = ERR_NO_MEMORY;

    *out = NULL;
    t->is_server = o->is_server;
    t->verify_host_name = o->verify_host_name;
    t->ssl_ctx = SSL_CTX_new(o->is_server ? TLS_server_method() : TLS_client_method());
    if (t->ssl_ctx == NULL)
        goto out;
    (void)SSL_CTX_set_mode(t->ssl_ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                           SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_options(t->ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                              SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_session_cache_mode(t->ssl_ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_session_id_context(t->ssl_ctx, session_id, sizeof session_id - 1);
    rc = set_versions(t->ssl_ctx, o, why);
    if (rc == ERR_OK)
        rc = load_key(t->ssl_ctx, o, why);
    if (rc == ERR_OK)
        rc = load_trust(t->ssl_ctx, o, why);
    if (rc != ERR_OK)
        goto out;
    *out = t;
    t = NULL;
out:
    tls_context_free(&t);
    return rc;
}

void tls_context_free(struct tls_context **t)
{
    if (*t == NULL)
        return;
    SSL_CTX_free((*t)->ssl_ctx);
    FREE_NULL(t);
}

static bool is_address(const char *host)
{
    unsigned char raw[16];

    return inet_pton(AF_INET, host, raw) == 1 || inet_pton(AF_INET6, host, raw) == 1;
}

/* What a client expects of the server's certificate, and the name it asks for. */
static bool set_peer_name(SSL *ssl, const struct tls_context *tls, const char *host)
{
    bool address = is_address(host);
    char *name;

    memcpy(&name, &host, sizeof name); /* OpenSSL's macro casts away the const */
    if (!address && SSL_set_tlsext_host_name(ssl, name) != 1)
        return false;
    if (!tls->verify_host_name)
        return true;
    return address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1
                   : SSL_set1_host(ssl, host) == 1;
}

bool transport_init(struct transport *t, int fd, struct tls_context *tls, const char *host_name)
{
    *t = (struct transport){.fd = fd, .is_shaken = tls == NULL};
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0))
        goto failed;
    if (tls == NULL)
        return true;
    t->ssl = SSL_new(tls->ssl_ctx);
    if (t->ssl == NULL || SSL_set_fd(t->ssl, fd) != 1)
        goto failed;
    if (tls->is_server) {
        SSL_set_accept_state(t->ssl);
    } else {
        SSL_set_connect_state(t->ssl);
        if (host_name != NULL && !set_peer_name(t->ssl, tls, host_name))
            goto failed;
    }
    return true;
failed:
    transport_fini(t);
    return false;
}

void transport_fini(struct transport *t)
{
    if (t->ssl != NULL) {
        if (t->is_shaken)
            (void)SSL_shutdown(t->ssl); /* a close alert if it fits; nobody waits for the peer's */
        SSL_free(t->ssl);
        ERR_clear_error();
    }
    if (t->fd >= 0)
        (void)close(t->fd);
    *t = (struct transport){.fd = -1};
}

static enum io_status failed(struct transport *t, int errnum)
{
    t->errnum = errnum;
    return errnum == EAGAIN ? IO_AGAIN : IO_FAILED;
}

/* What an OpenSSL call that returned rc <= 0 means. */
static enum io_status ssl_status(struct transport *t, int rc)
{
    int saved = errno;

    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        t->wants_write = false;
        return IO_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        t->wants_write = true;
        return IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return IO_EOF;
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        t->errnum = saved;
        return saved == 0 ? IO_EOF : IO_FAILED;
    default: {
        char text[256];
        ssl_error_text(text, sizeof text);
        t->errnum = 0;
        SLOG_EVERY(1000, WARN, "net", "TLS handshake or record failed", KV_S("error", text));
        return IO_FAILED;
    }
    }
}

enum io_status transport_shake(struct transport *t)
{
    if (t->is_shaken)
        return IO_OK;
    ERR_clear_error();
    t->wants_write = false;
    int rc = SSL_do_handshake(t->ssl);
    if (rc != 1)
        return ssl_status(t, rc);
    t->is_shaken = true;
    return IO_OK;
}

/* Fills the pieces until the peer has no more; an error after some bytes comes back on the next
 * call. */
static enum io_status ssl_readv(struct transport *t, const struct iovec *iov, int count,
                                size_t *got)
{
    for (int i = 0; i < count; i++) {
        size_t at = 0;
        while (at < iov[i].iov_len) {
            size_t n = 0;
            ERR_clear_error();
            t->wants_write = false;
            int rc = SSL_read_ex(t->ssl, (uint8_t *)iov[i].iov_base + at, iov[i].iov_len - at, &n);
            if (rc != 1) {
                enum io_status s = ssl_status(t, rc);
                return *got > 0 && s != IO_FAILED ? IO_OK : s;
            }
            at += n;
            *got += n;
        }
    }
    return IO_OK;
}

enum io_status transport_readv(struct transport *t, const struct iovec *iov, int count, size_t *got)
{
    ssize_t n;

    *got = 0;
    if (t->ssl != NULL)
        return ssl_readv(t, iov, count, got);
    do
        n = count == 1 ? recv(t->fd, iov[0].iov_base, iov[0].iov_len, 0) : readv(t->fd, iov, count);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return failed(t, errno);
    if (n == 0)
        return IO_EOF;
    *got = (size_t)n;
    return IO_OK;
}

bool transport_has_buffered(const struct transport *t)
{
    return t->ssl != NULL && SSL_has_pending(t->ssl) == 1;
}

static enum io_status ssl_write_all(struct transport *t, const uint8_t *p, size_t len, size_t *put)
{
    while (len > 0) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_write_ex(t->ssl, p, len, &n);
        if (rc != 1) {
            bool wanted_write = t->wants_write;
            enum io_status s = ssl_status(t, rc);
            t->wants_write = wanted_write; /* that is for reads: the caller waits for writable */
            return s;
        }
        p += n;
        len -= n;
        *put += n;
    }
    return IO_OK;
}

/* The pieces in records of TLS_RECORD_BYTES, so that the small ones do not become records of their
 * own. After AGAIN the caller comes with the same bytes, and perhaps more behind them, as OpenSSL
 * wants. */
static enum io_status ssl_writev(struct transport *t, const struct iovec *iov, int count,
                                 size_t *put)
{
    uint8_t record[TLS_RECORD_BYTES];
    size_t at = 0; /* in iov[i] */

    for (int i = 0; i < count;) {
        size_t len = 0;
        while (i < count && len < sizeof record) {
            size_t n = size_min(iov[i].iov_len - at, sizeof record - len);
            memcpy(record + len, (const uint8_t *)iov[i].iov_base + at, n);
            len += n;
            at += n;
            if (at == iov[i].iov_len) {
                i++;
                at = 0;
            }
        }
        enum io_status s = ssl_write_all(t, record, len, put);
        if (s != IO_OK)
            return *put > 0 && s == IO_AGAIN ? IO_OK : s;
    }
    return IO_OK;
}

enum io_status transport_writev(struct transport *t, const struct iovec *iov, int count, bool more,
                                size_t *put)
{
    struct msghdr m = {.msg_iovlen = (size_t)count};
    ssize_t n;

    *put = 0;
    if (t->ssl != NULL)
        return ssl_writev(t, iov, count, put);
    memcpy(&m.msg_iov, &iov, sizeof iov); /* sendmsg does not change it */
    do
        n = sendmsg(t->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return failed(t, errno);
    *put = (size_t)n;
    return IO_OK;
}

static enum io_status ssl_sendfile(struct transport *t, int file_fd, int64_t position, size_t len,
                                   size_t *put)
{
    uint8_t record[TLS_RECORD_BYTES];

    while (len > 0) {
        ssize_t n;
        do
            n = pread(file_fd, record, size_min(len, sizeof record), position + (int64_t)*put);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return failed(t, errno == EAGAIN ? EIO : errno);
        if (n == 0)
            return IO_OK;
        size_t before = *put;
        enum io_status s = ssl_write_all(t, record, (size_t)n, put);
        if (s != IO_OK)
            return *put > 0 && s == IO_AGAIN ? IO_OK : s;
        len -= *put - before;
    }
    return IO_OK;
}

enum io_status transport_sendfile(struct transport *t, int file_fd, int64_t position, size_t len,
                                  size_t *put)
{
    off_t at = position;
    ssize_t n;

    *put = 0;
    if (t->ssl != NULL)
        return ssl_sendfile(t, file_fd, position, len, put);
    do
        n = sendfile(t->fd, file_fd, &at, len);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return failed(t, errno);
    *put = (size_t)n;
    return IO_OK;
}

void transport_peer_subject(const struct transport *t, char *out, size_t out_size)
{
    X509 *peer = t->ssl == NULL ? NULL : SSL_get0_peer_certificate(t->ssl);
    BIO *bio = peer == NULL ? NULL : BIO_new(BIO_s_mem());
    int n = 0;

    if (bio != NULL &&
        X509_NAME_print_ex(bio, X509_get_subject_name(peer), 0,
                           XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0)
        n = BIO_read(bio, out, (int)out_size - 1);
    out[n > 0 ? n : 0] = 0;
    BIO_free(bio);
}
