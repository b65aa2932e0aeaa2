"""What each attempt of attacks.py achieves at each level: the one table that a change of the lock must pass.

open: it succeeds for anybody; root, user: only for root, only for an ordinary user; -: it is denied.
L1 is taken without Landlock, as on a kernel that lacks it: elsewhere it is L2's equal. An older kernel may
deny more at L0 and L1, which promise nothing; at L2 and L3 the table holds to the letter.
"""

COLUMNS = ("L0", "L1", "L2", "L3")
TABLE = """
    connect_tcp                      open  -     -     -
    bind_tcp                         open  -     -     -
    send_udp                         open  -     -     -
    ipv6_socket                      open  -     -     -
    packet_socket                    root  -     -     -
    netlink_socket                   open  -     -     -
    unix_socket_by_path              open  -     -     -
    unix_socket_abstract             open  -     -     -
    socket_pair                      open  -     -     -
    read_hidden                      open  open  -     -
    stat_hidden                      open  open  open  -
    handle_of_hidden                 open  open  open  -
    list_hidden_folder               open  open  -     -
    read_through_a_link_in_an_input  open  open  -     -
    read_through_a_linked_folder     open  open  -     -
    read_through_dots                open  open  -     -
    read_through_own_root            open  open  -     -
    read_through_parents_root        open  user  -     -
    read_passwords                   root  root  -     -
    read_code_repository             open  open  -     -
    watch_hidden                     open  -     -     -
    write_hidden                     open  open  -     -
    write_temporary_folder           open  open  -     -
    write_shared_memory              open  open  -     -
    create_in_root                   root  root  -     -
    write_core_pattern               root  root  -     -
    write_own_oom_score              open  open  -     -
    write_own_memory_file            open  open  -     -
    read_kernel_log                  root  -     -     -
    write_input                      open  open  -     -
    truncate_input_while_reading     open  open  -     -
    truncate_input_by_name           open  -     -     -
    delete_input                     open  open  -     -
    rename_input                     open  open  -     -
    change_mode_of_input             open  -     -     -
    change_mode_by_descriptor        open  -     -     -
    change_mode_by_new_call          open  -     -     -
    change_owner_of_input            open  -     -     -
    change_times_of_input            open  -     -     -
    change_attributes_of_input       open  -     -     -
    link_input_elsewhere             open  -     -     -
    lease_on_input                   open  -     -     -
    create_beside_input              open  open  -     -
    create_beside_output             open  open  -     -
    make_folder_beside_output        open  open  -     -
    make_pipe_beside_output          open  -     -     -
    make_link_beside_output          open  -     -     -
    make_device_beside_output        root  -     -     -
    delete_output                    open  open  -     -
    rename_output                    open  open  -     -
    lengthen_output_by_writing       -     -     -     -
    lengthen_output_by_truncating    -     -     -     -
    lengthen_output_by_allocating    -     -     -     -
    fork                             open  -     -     -
    clone_by_new_call                open  -     -     -
    clone_into_user_namespace        open  -     -     -
    execute                          open  -     -     -
    execute_by_descriptor            open  -     -     -
    run_a_shell                      open  -     -     -
    spawn                            open  -     -     -
    memory_file                      open  -     -     -
    signal_the_parent                open  -     -     -
    signal_everybody                 open  -     -     -
    signal_a_thread_elsewhere        open  -     -     -
    signal_any_thread                open  -     -     -
    signal_by_handle                 open  -     -     -
    own_a_pipes_signals              open  -     -     -
    trace_a_victim                   open  -     -     -
    read_a_victims_memory            open  -     -     -
    read_the_parents_environment     open  user  -     -
    read_a_victims_command_line      open  open  -     -
    list_processes                   open  open  -     -
    slow_a_victim                    open  -     -     -
    pin_a_victim                     open  -     -     -
    limit_a_victim                   open  -     -     -
    outlive_the_parent               open  -     -     -
    leave_the_process_group          open  -     -     -
    io_uring                         open  -     -     -
    bpf                              open  -     -     -
    performance_events               open  -     -     -
    page_faults_in_user_space        root  -     -     -
    keyring                          open  -     -     -
    add_key                          open  -     -     -
    mount_file_system                root  -     -     -
    unmount                          open  -     -     -
    change_root                      root  -     -     -
    enter_namespace                  open  -     -     -
    open_by_handle                   open  -     -     -
    load_module                      -     -     -     -
    reboot                           root  -     -     -
    kernel_log_by_call               root  -     -     -
    change_user                      open  -     -     -
    drop_groups                      root  -     -     -
    personality                      open  -     -     -
    keep_a_capability                root  -     -     -
    watch_all_files                  root  -     -     -
    system_v_memory                  open  -     -     -
    system_v_messages                open  -     -     -
    message_queue                    open  -     -     -
    type_into_the_terminal           open  -     -     -
    foreign_numbers                  -     -     -     -
    uncounted_memory                 open  -     -     -
    too_much_memory                  -     -     -     -
    raise_a_limit                    -     -     -     -
    inherited_secret                 -     -     -     -
    inherited_descriptor             -     -     -     -
    new_user_namespace               open  -     -     -
"""


def expected() -> dict[str, dict[str, str]]:
    """Attempt → level → verdict."""
    rows = [line.split() for line in TABLE.strip().splitlines()]
    return {name: dict(zip(COLUMNS, verdicts, strict=True)) for name, *verdicts in rows}


def open_to(level: str, who: str) -> set[str]:
    """The attempts that succeed at `level` for `who`: 'root' or 'user'."""
    return {name for name, verdicts in expected().items() if verdicts[level] in ("open", who)}
