# Completion of conntrackd(8) for bash.
_conntrackd() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} verb= word words
    case $previous in
        -C|--record) COMPREPLY=($(compgen -f -- "$current")); return ;;
        --timeout|--from|--interval|--peer|--record-limit) return ;;
        -c|-F|-R|-i|-e) words='ct expect' ;;
        -f) words='internal external' ;;
        -s) words='network cache runtime link rsqueue process queue ct expect' ;;
    esac
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in
            check|convert|dump|keygen|peers|ready|rehearse|role|stats|sweep|top) verb=$word; break ;;
        esac
    done
    case $verb in
        check|convert|sweep) words='-C' ;;
        keygen) COMPREPLY=($(compgen -f -- "$current")); return ;;
        dump) words='internal external expect --json --xml -C' ;;
        top) words='--once --interval --peer -C' ;;
        role) words='primary backup fault --from --timeout --json -C' ;;
        peers|ready|rehearse) words='--json -C' ;;
        stats) words='network cache runtime link rsqueue process queue expect --json -C' ;;
        *)
            if [[ $current == -* || -z $words ]]; then
                words='-d -C -v -h -c -f -F -i -e -k -s -R -n -B -t -x --record --record-limit --recover check convert dump keygen peers ready rehearse role stats sweep top'
            fi ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _conntrackd conntrackd
