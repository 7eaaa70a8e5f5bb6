/* Before the calls of nulls.c: how they are judged. */
static void judge_null(const char *call, const char *where, bool is_right, nlmqtt_status status)
{
    if (!is_right)
        tell_wrong(call, where, status);
}
