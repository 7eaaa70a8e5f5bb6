/* What keeps a client out before MQTT begins: each fault has a status of its own and a text that says what is wrong, on both sides.
 * Over TLS, or over what NLMQTT_TEST_SCHEME says. */
#include "certificates_refused.h"
#include "client_peer.h"

/* What the servers below have said. */
static struct {
    pthread_mutex_t lock;
    char text[8192];
    size_t len;
} said = {PTHREAD_MUTEX_INITIALIZER, "", 0};

static void on_line(void *user_data, int32_t level, const char *module, const char *text)
{
    (void)user_data, (void)level, (void)module;
    pthread_mutex_lock(&said.lock);
    snprintf(said.text + said.len, sizeof said.text - said.len, "%s\n", text);
    said.len = strlen(said.text);
    pthread_mutex_unlock(&said.lock);
}

/* Waits until the server has said this. */
static void await_said(const char *words)
{
    bool is_there = false;
    int tries;
    for (tries = 0; tries < 2000 && !is_there; tries++) {
        pthread_mutex_lock(&said.lock);
        is_there = strstr(said.text, words) != NULL;
        pthread_mutex_unlock(&said.lock);
        if (!is_there)
            sleep_ms(10);
    }
    if (!is_there)
        fprintf(stderr, "the server has not said '%s', but:\n%s", words, said.text);
    CHECK(is_there);
}

static nlmqtt_runtime *talking_runtime(void)
{
    nlmqtt_runtime_config *config = nlmqtt_runtime_config_new();
    nlmqtt_runtime *runtime = NULL;
    CHECK_OK(nlmqtt_runtime_config_set_log(config, NLMQTT_LOG_INFO, on_line, NULL, NULL));
    CHECK_OK(nlmqtt_runtime_new(config, &runtime));
    nlmqtt_runtime_config_free(config);
    return runtime;
}

static nlmqtt_server *server_in(nlmqtt_runtime *runtime, const char *uri, uint16_t *port)
{
    nlmqtt_server_config *config = nlmqtt_server_config_new();
    nlmqtt_server *server = NULL;
    CHECK_OK(nlmqtt_server_config_add_listener(config, uri));
    CHECK_OK(nlmqtt_server_new(runtime, config, NULL, &server));
    CHECK_OK(nlmqtt_server_start(server));
    CHECK_OK(nlmqtt_server_listener_port(server, 0, port));
    nlmqtt_server_config_free(config);
    pthread_mutex_lock(&said.lock);
    said.text[said.len = 0] = '\0';
    pthread_mutex_unlock(&said.lock);
    return server;
}

static const char *tls_scheme(void)
{
    return has_tls() ? test_scheme() : "mqtts";
}

/* The same without TLS; NULL: there is none. */
static const char *plain_scheme(void)
{
    static char scheme[8];
    snprintf(scheme, sizeof scheme, "%.*s", (int)strlen(tls_scheme()) - 1, tls_scheme());
    return strcmp(tls_scheme(), "quic") == 0 ? NULL : scheme;
}

static bool is_over_tcp(void)
{
    return strcmp(tls_scheme(), "mqtts") == 0 || strcmp(tls_scheme(), "wss") == 0;
}

static nlmqtt_client_config *config_at(const char *scheme, uint16_t port, const char *ca)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[64];
    snprintf(uri, sizeof uri, "%s://127.0.0.1:%u", scheme, (unsigned)port);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca));
    return config;
}

/* The first try of a client ends like this; OK: it is let in. */
static void ends_with(nlmqtt_client_config *config, nlmqtt_status status, const char *words)
{
    struct record record;
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    if (status == NLMQTT_OK) {
        CHECK_OK(nlmqtt_client_connect_wait(record.client, 20000));
    } else {
        AWAIT(&record, disconnected, 1);
        if (record.fault != status || strstr(record.text, words) == NULL)
            fprintf(stderr, "%s: %s: '%s', and not %s with '%s'\n", tls_scheme(), nlmqtt_status_name(record.fault), record.text, nlmqtt_status_name(status), words);
        CHECK(record.fault == status && strstr(record.text, words) != NULL && record.connected == 0);
        CHECK(record.cause == NLMQTT_CAUSE_TLS && record.retry_in_ms >= 0);
        CHECK(nlmqtt_status_is_transient(status) == (status == NLMQTT_TLS_NOT_YET_VALID));
    }
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

struct meeting {
    /* The server's certificate and key, whom it asks for a certificate, and whether it knows who was revoked. */
    const char *server_cert, *server_key, *client_ca;
    bool server_knows;
    /* Whom the client trusts, what it shows, and whether it knows who was revoked. */
    const char *ca, *client_cert, *client_key;
    bool client_knows;
    /* What the client is told, and what the server says. */
    nlmqtt_status status;
    const char *words, *server_words;
};

static const struct meeting meetings[] = {
    /* The server's certificate. */
    {server_pem, server_key, NULL, false, ca_pem, NULL, NULL, false, NLMQTT_OK, "", ""},
    {expired_pem, refused_key, NULL, false, refused_ca_pem, NULL, NULL, false, NLMQTT_TLS_EXPIRED, "server's certificate has expired", "CertificateExpired"},
    {early_pem, refused_key, NULL, false, refused_ca_pem, NULL, NULL, false, NLMQTT_TLS_NOT_YET_VALID, "not valid yet, or this clock is wrong",
     "CertificateExpired"},
    {revoked_pem, refused_key, NULL, false, refused_ca_pem, NULL, NULL, false, NLMQTT_OK, "", ""},
    {revoked_pem, refused_key, NULL, false, refused_ca_pem, NULL, NULL, true, NLMQTT_TLS_REVOKED, "server's certificate was revoked", "CertificateRevoked"},
    {client_pem, client_key, NULL, false, ca_pem, NULL, NULL, false, NLMQTT_TLS_WRONG_NAME, "for another name", "BadCertificate"},
    {server_pem, server_key, NULL, false, refused_ca_pem, NULL, NULL, false, NLMQTT_TLS_UNKNOWN_ISSUER, "signed by nobody trusted", "UnknownCA"},
    /* The client's. */
    {server_pem, server_key, refused_ca_pem, false, ca_pem, revoked_pem, refused_key, false, NLMQTT_OK, "", ""},
    {server_pem, server_key, refused_ca_pem, false, ca_pem, NULL, NULL, false, NLMQTT_TLS_CERTIFICATE_REFUSED, "it wants a certificate",
     "the client has shown no certificate"},
    {server_pem, server_key, refused_ca_pem, false, ca_pem, expired_pem, refused_key, false, NLMQTT_TLS_CERTIFICATE_REFUSED,
     "the certificate has expired, or is not valid yet", "client's certificate has expired"},
    {server_pem, server_key, refused_ca_pem, false, ca_pem, early_pem, refused_key, false, NLMQTT_TLS_CERTIFICATE_REFUSED,
     "the certificate has expired, or is not valid yet", "client's certificate is not valid yet"},
    {server_pem, server_key, refused_ca_pem, true, ca_pem, revoked_pem, refused_key, false, NLMQTT_TLS_CERTIFICATE_REFUSED, "the certificate was revoked",
     "client's certificate was revoked"},
    {server_pem, server_key, refused_ca_pem, false, ca_pem, client_pem, client_key, false, NLMQTT_TLS_CERTIFICATE_REFUSED,
     "the certificate is signed by nobody it trusts", "signed by nobody trusted"},
};

static void certificates_meet(const struct meeting *meeting)
{
    char cert[64], key[64], client_ca[64], revoked[64], uri[512];
    uint16_t port;
    nlmqtt_runtime *runtime = talking_runtime();
    nlmqtt_server *server;
    nlmqtt_client_config *config;
    write_file(cert, meeting->server_cert);
    write_file(key, meeting->server_key);
    write_file(client_ca, meeting->client_ca ? meeting->client_ca : "");
    write_file(revoked, revocation_list);
    snprintf(uri, sizeof uri, "%s://127.0.0.1:0?cert=%s&key=%s%s%s%s%s", tls_scheme(), cert, key, meeting->client_ca ? "&client_cert=require&ca=" : "",
             meeting->client_ca ? client_ca : "", meeting->server_knows ? "&crl=" : "", meeting->server_knows ? revoked : "");
    server = server_in(runtime, uri, &port);
    config = config_at(tls_scheme(), port, meeting->ca);
    if (meeting->client_cert)
        CHECK_OK(nlmqtt_client_config_set_certificate_pem(config, meeting->client_cert, meeting->client_key));
    if (meeting->client_knows)
        CHECK_OK(nlmqtt_client_config_set(config, "crl_file", revoked));
    ends_with(config, meeting->status, meeting->words);
    await_said(meeting->server_words);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
    unlink(cert);
    unlink(key);
    unlink(client_ca);
    unlink(revoked);
}

/* The alert "protocol_version" (RFC 8446 section 6). */
static const unsigned char too_old[7] = {21, 3, 3, 0, 2, 2, 70};

struct old_server {
    int listener;
    /* A ServerHello of TLS 1.2 (RFC 5246 section 7.4.1.3) whoever asks: from a server that has never heard of another version. */
    unsigned char hello[47];
    bool looks;
};

static void *answer_as_of_old(void *user_data)
{
    struct old_server *server = (struct old_server *)user_data;
    int peer = accept_one(server->listener);
    unsigned char byte;
    CHECK(read_exactly(peer, &byte, 1) && byte == 22);
    if (server->looks)
        send_bytes(peer, too_old, sizeof too_old);
    else
        send_bytes(peer, server->hello, sizeof server->hello);
    while (recv(peer, &byte, 1, 0) == 1)
        continue;
    close(peer);
    return NULL;
}

static void a_server_offers_less_than_the_client_wants(bool looks)
{
    static const unsigned char begin[] = {22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3};
    struct old_server old;
    uint16_t port;
    pthread_t thread;
    nlmqtt_client_config *config;
    memset(&old, 0, sizeof old);
    old.looks = looks;
    old.listener = listen_any(&port, 4);
    memcpy(old.hello, begin, sizeof begin);
    old.hello[44] = 0xc0; /* TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 */
    old.hello[45] = 0x2b;
    CHECK(pthread_create(&thread, NULL, answer_as_of_old, &old) == 0);
    config = config_at(tls_scheme(), port, ca_pem);
    CHECK_OK(nlmqtt_client_config_set(config, "tls_min", "1.3"));
    ends_with(config, NLMQTT_TLS_WEAK_VERSION, "no version of TLS in common");
    CHECK(pthread_join(thread, NULL) == 0);
    close(old.listener);
}

/* A ClientHello of TLS 1.2, which says nothing of another version. */
static void a_client_offers_less_than_the_server_wants(void)
{
    static const unsigned char begin[] = {22, 3, 1, 0, 69, 1, 0, 0, 65, 3, 3};
    static const unsigned char end[] = {0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 22, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0};
    struct server_files files;
    unsigned char hello[74], answer[sizeof too_old], more;
    char uri[sizeof files.uri + 32];
    uint16_t port;
    nlmqtt_runtime *runtime = talking_runtime();
    nlmqtt_server *server;
    int old;
    write_server_files(&files, "");
    snprintf(uri, sizeof uri, "%s%s&tls_min=1.3", tls_scheme(), strchr(files.uri, ':'));
    server = server_in(runtime, uri, &port);
    memset(hello, 7, sizeof hello);
    memcpy(hello, begin, sizeof begin);
    memcpy(hello + sizeof hello - sizeof end, end, sizeof end);
    old = dial_peer(port);
    send_bytes(old, hello, sizeof hello);
    CHECK(read_exactly(old, answer, sizeof answer) && memcmp(answer, too_old, sizeof answer) == 0);
    CHECK(recv(old, &more, 1, 0) <= 0);
    await_said("no version of TLS in common");
    close(old);
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
    remove_server_files(&files);
}

static void plain_and_tls_meet(void)
{
    struct server_files files;
    char uri[sizeof files.uri];
    uint16_t port;
    nlmqtt_runtime *runtime = talking_runtime();
    nlmqtt_server *server;
    nlmqtt_client_config *config;
    write_server_files(&files, "");
    snprintf(uri, sizeof uri, "%s%s", tls_scheme(), strchr(files.uri, ':'));
    server = server_in(runtime, uri, &port);
    ends_with(config_at(plain_scheme(), port, ca_pem), NLMQTT_TLS_UNEXPECTED, "the server speaks TLS at this port");
    await_said("plain bytes on a TLS port");
    nlmqtt_server_free(server);
    snprintf(uri, sizeof uri, "%s://127.0.0.1:0", plain_scheme());
    server = server_in(runtime, uri, &port);
    config = config_at(tls_scheme(), port, ca_pem);
    ends_with(config, NLMQTT_TLS_NOT_TLS, "speak");
    await_said("TLS on a plain port");
    nlmqtt_server_free(server);
    nlmqtt_runtime_free(runtime);
    remove_server_files(&files);
}

int main(void)
{
    size_t i;
    for (i = 0; i < sizeof meetings / sizeof *meetings; i++)
        certificates_meet(&meetings[i]);
    if (is_over_tcp()) {
        a_server_offers_less_than_the_client_wants(false);
        a_server_offers_less_than_the_client_wants(true);
        a_client_offers_less_than_the_server_wants();
    }
    if (plain_scheme())
        plain_and_tls_meet();
    printf("ok client_tls_refusals: %s\n", tls_scheme());
    return 0;
}
