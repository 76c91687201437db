#!/bin/sh
# Modes: jupyter [ARGUMENTS], ssh and probe [ARGUMENTS]. Any other command, such as python train.py, is run unchanged.
#   JUPYTER_TOKEN         the token of JupyterLab; if unset, JupyterLab generates one and prints it
#   JUPYTER_TOKEN_FILE    a file that contains the token
#   SSH_AUTHORIZED_KEYS   public keys for ssh, one per line; or mount a file at /etc/gpuenv/authorized_keys
#   SSH_HOST_KEYS         a directory that holds the server's own key; if unset, ~/.ssh-host. A volume there keeps the key
#   JUPYTER_PORT          8888 if unset
#   SSH_PORT              2222 if unset
set -eu

fail() {
    echo "gpuenv-entrypoint: $1" >&2
    exit 64
}

run_jupyter() {
    # With an empty token, JupyterLab would accept every visitor.
    [ "${JUPYTER_TOKEN-unset}" != "" ] || fail "JUPYTER_TOKEN is empty: give it a value, or leave it unset"
    if [ -z "${JUPYTER_TOKEN-}" ] && [ -n "${JUPYTER_TOKEN_FILE-}" ]; then
        [ -r "$JUPYTER_TOKEN_FILE" ] || fail "JUPYTER_TOKEN_FILE: $JUPYTER_TOKEN_FILE cannot be read"
        [ -n "$(tr -d '[:space:]' <"$JUPYTER_TOKEN_FILE")" ] || fail "JUPYTER_TOKEN_FILE: $JUPYTER_TOKEN_FILE holds no token"
    fi
    for argument; do
        case $argument in
            -*.token=|-*.password=|-*.token=\'\'|-*.password=\'\'|-*.token=\"\"|-*.password=\"\")
                fail "$argument would let everybody in: remove it" ;;
            # The value would be the next argument, which may be empty.
            -*.token|-*.password) fail "$argument could let everybody in: write $argument=VALUE, or set JUPYTER_TOKEN" ;;
        esac
    done
    exec /opt/jupyter/bin/jupyter lab --no-browser --ip=0.0.0.0 --port="${JUPYTER_PORT:-8888}" \
        --ServerApp.port_retries=0 --ServerApp.root_dir=/workspace "$@"
}

# Print the variables that an SSH session needs to find Python and the driver's libraries, for sshd's SetEnv.
session_environment() {
    env | grep -E '^(PATH|LD_LIBRARY_PATH|CUDA_[A-Z_]*|NVIDIA_[A-Z_]*|HF_[A-Z_]*)=' | grep -v '"' | sed 's/.*/"&"/' | tr '\n' ' '
}

# Make a host key at the path $1. The link makes it appear whole, and never replaces the key that another container of the
# same volume has just made. Some file systems have no links.
make_host_key() {
    directory=$(dirname "$1")
    { mkdir -p "$directory" && new=$(mktemp -d "$directory/new-XXXXXX"); } ||
        fail "$directory: user $(id -u) can make no SSH host key there: make it writable, or mount one with $(basename "$1")"
    ssh-keygen -q -t ed25519 -N '' -C gpuenv -f "$new/key"
    ln "$new/key" "$1" 2>/dev/null || mv -n "$new/key" "$1"
    rm -r "$new"
}

run_ssh() {
    umask 077
    mkdir -p "$HOME/.ssh"
    if [ -r /etc/gpuenv/authorized_keys ]; then
        cat /etc/gpuenv/authorized_keys >"$HOME/.ssh/authorized_keys"
    elif [ -n "${SSH_AUTHORIZED_KEYS-}" ]; then
        printf '%s\n' "$SSH_AUTHORIZED_KEYS" >"$HOME/.ssh/authorized_keys"
    fi
    [ -s "$HOME/.ssh/authorized_keys" ] ||
        fail "nobody could log in: set SSH_AUTHORIZED_KEYS to a public key, or mount /etc/gpuenv/authorized_keys"
    host_key=${SSH_HOST_KEYS:-$HOME/.ssh-host}/ssh_host_ed25519_key
    [ -e "$host_key" ] || make_host_key "$host_key"
    fingerprint=$(ssh-keygen -lf "$host_key") || fail "$host_key cannot be read, or holds no key"
    echo "gpuenv-entrypoint: SSH host key $fingerprint" >&2
    {
        cat /etc/gpuenv/sshd_config
        echo "Port ${SSH_PORT:-2222}"
        echo "HostKey $host_key"
        echo "SetEnv $(session_environment)"
    } >"$HOME/.ssh/sshd_config"
    exec /usr/sbin/sshd -D -e -f "$HOME/.ssh/sshd_config"
}

run_probe() {
    exec python3 /usr/local/lib/gpuenv all "$@"
}

mode=${1:-jupyter}
case $mode in
    jupyter) [ $# -eq 0 ] || shift; run_jupyter "$@" ;;
    ssh) [ $# -eq 1 ] || fail "ssh takes no arguments"; run_ssh ;;
    probe) shift; run_probe "$@" ;;
    *) exec "$@" ;;
esac
