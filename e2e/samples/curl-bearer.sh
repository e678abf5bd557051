TOKEN="$(cat ~/.rampart/token)"
curl -N -H "Authorization: Bearer $TOKEN" \
  "http://127.0.0.1:9090/v1/events/stream"
