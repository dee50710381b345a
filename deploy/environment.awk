# SPDX-License-Identifier: Apache-2.0
# The broker's properties from the environment, as the images of confluentinc, wurstmeister and bitnami read it.
# Input: lines NAME=value in the order of the names; a newline in a value is the character 1. Standard output:
# the properties. Standard error: what is noteworthy. Exit 1: the broker must not be started.
# The entry point gives, in variables of its own:
#   ENTRYPOINT_DATA       log.dirs where none is given
#   ENTRYPOINT_OPTIONS    the options that the broker has, a line each; empty: names are not checked
#   ENTRYPOINT_HOSTNAME, _PORT, _BROKER_ID, _RACK    what the commands of the wurstmeister image printed

function note(text) { print "kafuka-entrypoint: " text >"/dev/stderr" }
function stop(text) { note(text); failed = 1; exit 1 }
function given(name) { return env[name] != "" }
function has(option) { return (option in value) }

# Options in the order in which they came; who gave it is said in messages.
function set(option, text, who) {
    if (!(option in value)) order[++options] = option
    value[option] = text
    giver[option] = who
}
function default_to(option, text) { if (!has(option)) set(option, text, "") }

# A_B is a.b, A__B is a_b, A___B is a-b. In a name of bitnami a_b cannot be written but for these two.
function option_of(name, is_bitnami,    text) {
    if (name ~ /ZOOKEEPER_CLIENT_?CNXN_?SOCKET$/) return "zookeeper.clientCnxnSocket"
    text = tolower(name)
    gsub(/___/, "-", text)
    gsub(/__/, "\001", text)
    gsub(/_/, ".", text)
    gsub(/\001/, "_", text)
    if (is_bitnami) {
        gsub(/sasl\.ssl/, "sasl_ssl", text)
        gsub(/sasl\.plaintext/, "sasl_plaintext", text)
    }
    return text
}
function variable_of(option) {
    gsub(/-/, "___", option)
    gsub(/[.]/, "_", option)
    return "KAFKA_" toupper(option)
}

function replace(text, what, by,    at) {
    while ((at = index(text, what)) > 0) text = substr(text, 1, at - 1) by substr(text, at + length(what))
    return text
}
# _{HOSTNAME_COMMAND} in a value stands for what that command printed
function with_commands(text) {
    if (ENVIRON["ENTRYPOINT_HOSTNAME"] != "") text = replace(text, "_{HOSTNAME_COMMAND}", ENVIRON["ENTRYPOINT_HOSTNAME"])
    if (ENVIRON["ENTRYPOINT_PORT"] != "") text = replace(text, "_{PORT_COMMAND}", ENVIRON["ENTRYPOINT_PORT"])
    if (text ~ /_[{](HOSTNAME|PORT)_COMMAND[}]/) stop(text " asks for what a command prints, but that command is not set")
    return text
}

# In how many letters do a and b differ? Above limit it is limit + 1.
function distance(a, b, limit,    i, j, row, before, corner, best, cost, n, m) {
    n = length(a); m = length(b)
    if (n - m > limit || m - n > limit) return limit + 1
    for (j = 0; j <= m; j++) row[j] = j
    for (i = 1; i <= n; i++) {
        corner = row[0]; row[0] = i; best = i
        for (j = 1; j <= m; j++) {
            before = row[j]
            cost = corner + (substr(a, i, 1) != substr(b, j, 1))
            if (row[j] + 1 < cost) cost = row[j] + 1
            if (row[j - 1] + 1 < cost) cost = row[j - 1] + 1
            row[j] = cost; corner = before
            if (cost < best) best = cost
        }
        if (best > limit) return limit + 1
    }
    return row[m]
}

function nearest(option,    limit, best, candidate, d, longer) {
    # the beginning of one name
    for (candidate in known)
        if (index(candidate, option ".") == 1) { longer++; best = candidate }
    if (longer == 1) return best
    limit = length(option) < 8 ? 1 : length(option) < 16 ? 2 : 3
    best = ""
    for (candidate in known) {
        d = distance(option, candidate, limit)
        if (d < limit || (d == limit && best == "")) { best = candidate; limit = d }
    }
    return best
}

# A variable that is not read but looks as if it were meant to be.
function check_stranger(name,    rest, first) {
    if (name ~ /^(PORT|LOG_DIR|LOG_LEVEL|KAFUKA_PROPERTIES|KAFUKA_DATA)$/ || index(name, "_") == 0 && name != "LISTENERS") return
    rest = name; sub(/^[^_]*_/, "", rest)
    first = toupper(substr(name, 1, index(name, "_") - 1))
    if (option_of(name) in known) rest = name
    else if (!(first == "KAFKA" || distance(first, "KAFKA", 2) <= 2) || !(option_of(rest) in known)) return
    note(name " is not read; did you mean " variable_of(option_of(rest)) "?")
}
function check_name(name, option,    near) {
    if (option in known || option ~ /^listener\.name\./) return
    near = nearest(option)
    # without a near name: the broker warns by itself
    if (near != "") note(name ": the broker has no option " option "; did you mean " variable_of(near) "?")
}

# host:port of each listener in a list: the host becomes another
function with_host(list, host) {
    gsub(/:\/\/(\[[^]]*\]|[^:,]*):/, "://" host ":", list)
    return list
}
function is_port(text) { return text ~ /^[0-9]+$/ && text + 0 >= 1 && text + 0 <= 65535 }
function unused(name, because) { if (given(name)) note(name "=" env[name] " is not used: " because) }

# The names of before listeners: KAFKA_PORT, KAFKA_HOST_NAME, KAFKA_ADVERTISED_HOST_NAME and _PORT.
function set_listeners(    port, host, advertised_port) {
    port = env["KAFKA_PORT"]
    if (port ~ /^[a-z]+:\/\//) {
        note("KAFKA_PORT=" port " is a Kubernetes service link, not an option: left out")
        port = env["KAFKA_PORT"] = ""
    } else if (port != "" && !is_port(port)) stop("KAFKA_PORT=" port " is no port: a number from 1 to 65535 is expected")
    host = env["KAFKA_ADVERTISED_HOST_NAME"]
    advertised_port = env["KAFKA_ADVERTISED_PORT"]
    if (advertised_port != "" && !is_port(advertised_port))
        stop("KAFKA_ADVERTISED_PORT=" advertised_port " is no port: a number from 1 to 65535 is expected")
    if (host == "" && !has("listeners") && !has("advertised.listeners")) host = ENVIRON["ENTRYPOINT_HOSTNAME"]

    if (has("listeners")) {
        unused("KAFKA_PORT", giver["listeners"] " says where to listen")
        unused("KAFKA_HOST_NAME", giver["listeners"] " says where to listen")
    } else if (has("advertised.listeners")) {
        unused("KAFKA_PORT", giver["advertised.listeners"] " says the ports")
        unused("KAFKA_HOST_NAME", giver["advertised.listeners"] " says where to listen")
        set("listeners", with_host(value["advertised.listeners"], "0.0.0.0"), "")
    } else if (port != "" || host != "" || advertised_port != "" || env["KAFKA_HOST_NAME"] != "")
        set("listeners", "PLAINTEXT://" (env["KAFKA_HOST_NAME"] == "" ? "0.0.0.0" : env["KAFKA_HOST_NAME"]) ":" (port == "" ? 9092 : port), "")

    if (has("advertised.listeners")) {
        unused("KAFKA_ADVERTISED_HOST_NAME", giver["advertised.listeners"] " says what clients are told")
        unused("KAFKA_ADVERTISED_PORT", giver["advertised.listeners"] " says what clients are told")
    } else if (host != "") {
        set("advertised.listeners", with_host(value["listeners"], host), "")
        if (advertised_port != "") sub(/:[0-9]+/, ":" advertised_port, value["advertised.listeners"])
    } else if (advertised_port != "") set("advertised.port", advertised_port, "KAFKA_ADVERTISED_PORT")
}

# Is there any of what only the wurstmeister image reads?
function is_wurstmeister() {
    return given("KAFKA_ADVERTISED_HOST_NAME") || given("HOSTNAME_COMMAND") || given("PORT_COMMAND") || given("BROKER_ID_COMMAND") ||
        given("RACK_COMMAND") || given("KAFKA_CREATE_TOPICS") && env["KAFKA_CREATE_TOPICS"] !~ /:[0-9]+:([2-9]|[0-9][0-9])/
}

function is_yes(text) { return tolower(text) ~ /^(yes|true|1)$/ }
function refuse_kraft(who) {
    stop(who " belongs to KRaft, which kafuka does not have: leave it out and set KAFKA_ZOOKEEPER_CONNECT (zookeeper.connect)")
}

BEGIN {
    known_count = split(ENVIRON["ENTRYPOINT_OPTIONS"], lines, "\n")
    for (i = 1; i <= known_count; i++) known[lines[i]] = 1
}

/=/ {
    name = substr($0, 1, index($0, "=") - 1)
    text = substr($0, index($0, "=") + 1)
    if (name !~ /^[A-Za-z_][A-Za-z0-9_.-]*$/) next
    if (name ~ /^KAFKA_/ && gsub(/\r/, "", text)) note(name ": carriage returns (Windows line ends) are left out of the value")
    sub(/\001+$/, "", text)
    env[name] = text
    names[++count] = name
}

END {
    if (failed) exit 1
    if (given("KAFKA_PROCESS_ROLES")) refuse_kraft("KAFKA_PROCESS_ROLES")
    if (given("KAFKA_CFG_PROCESS_ROLES")) refuse_kraft("KAFKA_CFG_PROCESS_ROLES")
    for (i = 1; i <= count; i++) {
        name = names[i]; text = env[name]
        if (name !~ /^KAFKA_/) {
            if (known_count > 0) check_stranger(name)
            continue
        }
        # what configures a JVM, the folders of the images, Kubernetes service links
        if (name ~ /^KAFKA_(.*_)?OPTS$/ || name ~ /JMX|LOG4J/ || name ~ /^KAFKA_(VERSION|HOME|DEBUG|LOG|CUB_ZK_TIMEOUT)$/) {
            if (text ~ /auth\.login\.config/)
                note(name " names a login configuration for SASL: it has no effect, kafuka has no SASL yet")
            continue
        }
        if (name ~ /^KAFKA_SERVICE_/ || name ~ /^KAFKA_PORT_.*_(TCP|UDP)/) continue
        # read elsewhere
        if (name ~ /^KAFKA_(CREATE_TOPICS|CREATE_TOPICS_SEPARATOR|PORT|HOST_NAME|ADVERTISED_HOST_NAME|ADVERTISED_PORT)$/) {
            env[name] = with_commands(text)
            continue
        }
        if (name == "KAFKA_ENABLE_KRAFT") {
            if (is_yes(text)) refuse_kraft(name)
            continue
        }
        # bitnami: users, and how ZooKeeper is spoken to
        if (name == "KAFKA_ZOOKEEPER_PROTOCOL") {
            if (text != "" && toupper(text) != "PLAINTEXT") stop(name "=" text " is not possible: kafuka speaks to ZooKeeper in plain text only")
            continue
        }
        if (name ~ /^KAFKA_(CLIENT_USERS|CLIENT_PASSWORDS|INTER_BROKER_USER|INTER_BROKER_PASSWORD|ZOOKEEPER_USER|ZOOKEEPER_PASSWORD)$/) {
            note(name " has no effect: kafuka has no SASL yet")
            continue
        }
        text = with_commands(text)
        is_bitnami = name ~ /^KAFKA_CFG_/
        has_bitnami = has_bitnami || is_bitnami
        option = option_of(substr(name, is_bitnami ? 11 : 7), is_bitnami)
        if (has(option)) {
            # KAFKA_CFG_X goes before KAFKA_X, whichever comes first in the order of names
            loser = giver[option] ~ /^KAFKA_CFG_/ ? name : giver[option]
            if (value[option] != text) note(loser " is not used: " (loser == name ? giver[option] : name) " sets " option " too")
            if (loser == name) continue
        }
        set(option, text, name)
        if (known_count > 0) check_name(name, option)
    }
    if (has("controller.quorum.voters") && !has("zookeeper.connect")) refuse_kraft(giver["controller.quorum.voters"])
    if (!has("zookeeper.connect") && !has("enable.zookeeper"))
        stop("KAFKA_ZOOKEEPER_CONNECT (zookeeper.connect) is needed: host:port,host:port, with /path for a chroot at the end")
    set_listeners()
    if (ENVIRON["ENTRYPOINT_BROKER_ID"] != "" && !has("node.id")) default_to("broker.id", ENVIRON["ENTRYPOINT_BROKER_ID"])
    if (ENVIRON["ENTRYPOINT_RACK"] != "") default_to("broker.rack", ENVIRON["ENTRYPOINT_RACK"])
    if (!has("log.dir")) default_to("log.dirs", ENVIRON["ENTRYPOINT_DATA"])
    if (!has("offsets.topic.replication.factor") && (has_bitnami || is_wurstmeister())) {
        note("offsets.topic.replication.factor=1, as in the images of bitnami and wurstmeister; with three brokers or more set KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=3")
        set("offsets.topic.replication.factor", 1, "")
    }

    print "# written by the entry point from the KAFKA_* environment"
    for (i = 1; i <= options; i++) {
        text = value[order[i]]
        escaped = ""
        for (j = 1; j <= length(text); j++) {
            c = substr(text, j, 1)
            escaped = escaped (c == "\\" ? "\\\\" : c == "\001" ? "\\n" : c)
        }
        print order[i] "=" escaped
    }
}
