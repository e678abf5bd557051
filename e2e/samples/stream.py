import requests
import json
import os

token = open(os.path.expanduser("~/.rampart/token")).read().strip()
headers = {"Authorization": f"Bearer {token}"}
url = "http://localhost:9090/v1/events/stream"

response = requests.get(url, headers=headers, stream=True)

for line in response.iter_lines():
    if line:
        line_str = line.decode('utf-8')
        if line_str.startswith('data: '):
            data = json.loads(line_str[6:])  # Strip 'data: '
            if data['type'] == 'connected':
                print("Connected to Rampart")
            elif data['type'] == 'audit':
                event = data['event']
                print(f"{event['tool']}: {event['decision']['action']}")
            elif data['type'] == 'approvals':
                print("Approval queue changed")
