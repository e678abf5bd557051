TOKEN="$(cat ~/.rampart/token)"
curl -N "http://127.0.0.1:9090/v1/events/stream?token=$TOKEN"
