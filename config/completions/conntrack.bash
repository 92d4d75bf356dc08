# Completion of conntrack(8) for bash.
_conntrack() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words
    case $previous in
        -p|--protonum) words='tcp udp udplite sctp dccp icmp icmpv6 gre' ;;
        -f|--family) words='ipv4 ipv6' ;;
        -o|--output) words='extended id json ktimestamp labels save timestamp userspace xml' ;;
        -e|--event-mask) words='ALL DESTROY NEW UPDATES' ;;
        -u|--status) words='ASSURED FIXED_TIMEOUT SEEN_REPLY UNREPLIED UNSET' ;;
        --state) words='CLOSE CLOSE_WAIT ESTABLISHED FIN_WAIT LAST_ACK SYN_RECV SYN_SENT TIME_WAIT' ;;
        -L|-G|-D|-I|-E|-F|-C|-S) words='conntrack dying expect unconfirmed' ;;
        -R|--load-file|--labelmap) COMPREPLY=($(compgen -f -- "$current")); return ;;
        --netns) words=$(ls /run/netns 2>/dev/null) ;;
    esac
    if [[ $current == -* || -z $words ]]; then
        words='--add --any-nat --buffer-size --counter --create --delete --dport --dry-run --dst --dst-nat --dstkey --dump --event --event-mask --family --flush --get --help --icmp-code --icmp-id --icmp-type --icmpv6-code --icmpv6-id --icmpv6-type --id --label --label-add --label-del --labelmap --load-file --mark --mask-dst --mask-key-dst --mask-key-src --mask-port-dst --mask-port-src --mask-src --nat-range --netns --orig-key-dst --orig-key-src --orig-port-dst --orig-port-src --orig-vtag --orig-zone --output --protonum --reply-dst --reply-key-dst --reply-key-src --reply-port-dst --reply-port-src --reply-src --reply-vtag --reply-zone --role --secmark --sport --src --src-nat --srckey --state --stats --status --timeout --tuple-dst --tuple-key-dst --tuple-key-src --tuple-port-dst --tuple-port-src --tuple-src --update --version --zero --zone -A -C -D -E -F -G -I -L -S -U -V -a -b -c -d -e -f -g -h -i -j -l -m -n -o -p -q -r -s -t -u -w -z'
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _conntrack conntrack
