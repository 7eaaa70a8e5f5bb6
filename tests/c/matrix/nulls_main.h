/* After the calls of nulls.c: each with objects of its own, because some of them would end one. */
static nlmqtt_server *a_server;
static nlmqtt_runtime *a_runtime;

/* A call without a pointer it needs answers INVALID_ARGUMENT, before it looks at anything else. */
static void make_call(int number)
{
    nlmqtt_runtime_config *loop = nlmqtt_runtime_config_new();
    nlmqtt_client_config *pull = nlmqtt_client_config_new();
    struct arguments a;
    arguments_init(&a);
    OK(nlmqtt_client_config_add_server(pull, "mqtt://127.0.0.1:1", 0));
    OK(nlmqtt_client_config_set_pull_receive(pull, 10, 1000));
    OK(nlmqtt_runtime_config_set_mode(loop, NLMQTT_MODE_LOOP));
    OK(nlmqtt_runtime_new(loop, &a.spare_runtime));
    OK(nlmqtt_server_new(a_runtime, NULL, NULL, &a.spare_server));
    OK(nlmqtt_client_new(a_runtime, a.client_config, NULL, &a.client));
    OK(nlmqtt_client_new(a_runtime, a.client_config, NULL, &a.spare_client));
    OK(nlmqtt_client_new(a_runtime, pull, NULL, &a.pull_client));
    OK(nlmqtt_client_start(a.client));
    OK(nlmqtt_client_start(a.pull_client));
    a.runtime = a_runtime;
    a.server = a_server;
    calls[number](&a);
    release_outputs(&a);
    /* What a call would have freed is still there: it was given NULL. */
    nlmqtt_client_free(a.client);
    nlmqtt_client_free(a.spare_client);
    nlmqtt_client_free(a.pull_client);
    nlmqtt_server_free(a.spare_server);
    nlmqtt_runtime_free(a.spare_runtime);
    nlmqtt_runtime_config_free(loop);
    nlmqtt_client_config_free(pull);
    arguments_end(&a);
}

int main(void)
{
    uint16_t port;
    int number;
    a_runtime = runtime_of(NLMQTT_MODE_THREAD);
    a_server = serve(a_runtime, NULL, &port);
    for (number = 0; number < CALLS; number++)
        make_call(number);
    nlmqtt_server_free(a_server);
    nlmqtt_runtime_free(a_runtime);
    check_slots();
    CHECK_EQ(wrong, 0);
    printf("ok nulls: %d calls\n", (int)CALLS);
    return 0;
}
