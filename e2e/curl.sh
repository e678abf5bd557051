# curl does not come back by itself. This does, with the last id that stood in a
# whole message, and prints the data of each: curl.sh URL, with the token in TOKEN.
last=
while :; do
	data= id=
	while IFS= read -r line; do
		case $line in
		"data: "*) data=${line#data: } ;;
		"id: "*) id=${line#id: } ;;
		"")
			[ -z "$data" ] || printf '%s\n' "$data"
			[ -z "$id" ] || last=$id
			data= id=
			;;
		esac
	done < <(curl -sN -H "Authorization: Bearer $TOKEN" ${last:+-H "Last-Event-ID: $last"} "$1")
	sleep 0.2
done
