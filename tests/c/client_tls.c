/* TLS from C: who is let in, who is not and with which status, a key that lies elsewhere, certificates that change. */
#include "client_bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static struct record record;

/* What the hook has seen of the last client. */
static struct {
    pthread_mutex_t lock;
    char username[64], tls_version[8];
    size_t certificate_len;
} seen = {PTHREAD_MUTEX_INITIALIZER, "", "", 0};

static void on_client(void *user_data, const nlmqtt_client_info *client, bool session_present)
{
    (void)user_data;
    (void)session_present;
    CHECK(client->struct_size == sizeof *client);
    pthread_mutex_lock(&seen.lock);
    copy_str(seen.username, sizeof seen.username, client->username.data, client->username.len);
    copy_str(seen.tls_version, sizeof seen.tls_version, client->tls_version.data, client->tls_version.len);
    seen.certificate_len = client->certificate.len;
    pthread_mutex_unlock(&seen.lock);
}

static nlmqtt_client_config *config_at(const char *scheme, uint16_t port)
{
    nlmqtt_client_config *config = nlmqtt_client_config_new();
    char uri[64];
    snprintf(uri, sizeof uri, "%s://127.0.0.1:%u", scheme, (unsigned)port);
    CHECK_OK(nlmqtt_client_config_add_server(config, uri, 0));
    CHECK_OK(nlmqtt_client_config_set_client_id(config, "c"));
    return config;
}

static void is_kept_out(nlmqtt_client_config *config, nlmqtt_status status)
{
    record_init(&record);
    client_with(NULL, config, &record);
    CHECK_OK(nlmqtt_client_start(record.client));
    AWAIT(&record, disconnected, 1);
    CHECK(record.cause == NLMQTT_CAUSE_TLS && record.fault == status && record.text[0] != '\0' && record.retry_in_ms >= 0);
    nlmqtt_client_free(record.client);
    record_end(&record);
    nlmqtt_client_config_free(config);
}

static void certificates_say_who_is_who(uint16_t port)
{
    nlmqtt_client_config *config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    CHECK_OK(nlmqtt_client_config_set_certificate_pem(config, client_pem, client_key));
    is_let_in(config);
    pthread_mutex_lock(&seen.lock);
    CHECK(strcmp(seen.username, "gateway") == 0 && strcmp(seen.tls_version, "1.3") == 0 && seen.certificate_len > 100);
    pthread_mutex_unlock(&seen.lock);

    config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    is_kept_out(config, NLMQTT_TLS_CERTIFICATE_REFUSED);
}

static void files_do_as_well(uint16_t port, const struct server_files *files)
{
    nlmqtt_client_config *config = config_at("mqtts", port);
    char cert[64], key[64];
    nlmqtt_client *client = NULL;
    write_file(cert, client_pem);
    write_file(key, client_key);
    CHECK_OK(nlmqtt_client_config_set_ca_file(config, files->ca));
    CHECK_OK(nlmqtt_client_config_set_certificate_files(config, cert, key));
    is_let_in(config);
    unlink(key);
    config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_set_ca_file(config, files->ca));
    CHECK_OK(nlmqtt_client_config_set_certificate_files(config, cert, key));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_new(NULL, config, NULL, &client));
    nlmqtt_client_config_free(config);
    unlink(cert);
}

static void each_fault_has_its_status(uint16_t port)
{
    nlmqtt_client_config *config = config_at("mqtts", port);
    unsigned char hash[32];
    memset(hash, 7, sizeof hash);
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, client_pem));
    is_kept_out(config, NLMQTT_TLS_UNKNOWN_ISSUER);

    config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    CHECK_OK(nlmqtt_client_config_set(config, "tls_server_name", "elsewhere.example"));
    is_kept_out(config, NLMQTT_TLS_WRONG_NAME);

    config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_danger_accept_any_certificate(config));
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_config_add_pin(config, hash, 31));
    CHECK_OK(nlmqtt_client_config_add_pin(config, hash, sizeof hash));
    is_kept_out(config, NLMQTT_TLS_PIN_MISMATCH);

    is_kept_out(config_at("mqtt", port), NLMQTT_TLS_UNEXPECTED);
    CHECK(nlmqtt_status_is_transient(NLMQTT_TLS_NOT_YET_VALID) && !nlmqtt_status_is_transient(NLMQTT_TLS_EXPIRED));
}

static int asked, freed;

static bool on_sign(void *user_data, uint16_t scheme, const uint8_t *message, size_t message_len, uint8_t *signature, size_t *signature_len)
{
    CHECK(user_data == &asked && message && message_len > 64 && signature && signature_len);
    CHECK(scheme == 0x0403);
    __sync_fetch_and_add(&asked, 1);
    return false;
}

static void on_signer_free(void *user_data)
{
    CHECK(user_data == &asked);
    __sync_fetch_and_add(&freed, 1);
}

/* Its signature is good in tests/it/tls_client.rs; here the key element is out of order. */
static void a_key_elsewhere_is_asked(uint16_t port)
{
    nlmqtt_client_config *config = config_at("mqtts", port);
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_client_config_set_signer(config, client_pem, NULL, &asked, on_signer_free));
    CHECK(freed == 1);
    CHECK_OK(nlmqtt_client_config_set_signer(config, client_pem, on_sign, &asked, on_signer_free));
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    is_kept_out(config, NLMQTT_TLS);
    CHECK(asked >= 1 && freed == 2);
}

static void count_failures(void *user_data, int32_t change, const char *what)
{
    (void)what;
    *(int *)user_data += change != NLMQTT_CHANGE_APPLIED;
}

static void certificates_change_under_way(void)
{
    struct server_files files;
    uint16_t port;
    nlmqtt_server *server;
    nlmqtt_server_config *same = nlmqtt_server_config_new();
    nlmqtt_client_config *config;
    FILE *file;
    int others = 0;
    write_server_files(&files, "");
    server = server_at(on_client, files.uri, &port);
    config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    is_let_in(config);
    /* Another certificate, which is nobody's that is asked for. */
    file = fopen(files.cert, "w");
    CHECK(file && fputs(client_pem, file) >= 0 && fclose(file) == 0);
    file = fopen(files.key, "w");
    CHECK(file && fputs(client_key, file) >= 0 && fclose(file) == 0);
    CHECK_OK(nlmqtt_server_config_add_listener(same, files.uri));
    CHECK_OK(nlmqtt_server_reload(server, same, count_failures, &others));
    CHECK(others == 0);
    config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    is_kept_out(config, NLMQTT_TLS_WRONG_NAME);
    nlmqtt_server_config_free(same);
    nlmqtt_server_free(server);
    remove_server_files(&files);
}

/* A socket that listens already, as systemd passes one: a certificate among its options makes it TLS. */
static void a_listening_socket_speaks_tls(void)
{
    struct server_files files;
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    uint16_t port = 0;
    char options[256];
    nlmqtt_server *server = NULL;
    nlmqtt_client_config *config;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(listener >= 0 && bind(listener, (struct sockaddr *)&address, len) == 0 && listen(listener, 4) == 0);
    write_server_files(&files, "");
    CHECK_OK(nlmqtt_server_new(NULL, NULL, NULL, &server));
    CHECK_OK(nlmqtt_server_start(server));
    snprintf(options, sizeof options, "cert=%s&key=%s", files.cert, files.ca);
    CHECK_STATUS(NLMQTT_INVALID_ARGUMENT, nlmqtt_server_add_listener_fd(server, listener, options, &port));
    snprintf(options, sizeof options, "cert=%s&key=%s", files.cert, files.key);
    CHECK_OK(nlmqtt_server_add_listener_fd(server, listener, options, &port));
    config = config_at("mqtts", port);
    CHECK_OK(nlmqtt_client_config_set_ca_pem(config, ca_pem));
    is_let_in(config);
    nlmqtt_server_free(server);
    remove_server_files(&files);
}

int main(void)
{
    struct server_files files;
    nlmqtt_server *server;
    uint16_t port;
    CHECK(nlmqtt_has_feature("tls"));
    write_server_files(&files, "&client_cert=require&identity=cn");
    server = server_at(on_client, files.uri, &port);
    certificates_say_who_is_who(port);
    files_do_as_well(port, &files);
    each_fault_has_its_status(port);
    a_key_elsewhere_is_asked(port);
    nlmqtt_server_free(server);
    remove_server_files(&files);
    certificates_change_under_way();
    a_listening_socket_speaks_tls();
    puts("ok client_tls");
    return 0;
}
