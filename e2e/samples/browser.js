const token = 'your-token-here';
const eventSource = new EventSource(
  `http://localhost:9090/v1/events/stream?token=${token}`
);

eventSource.onmessage = (event) => {
  const data = JSON.parse(event.data);

  switch (data.type) {
    case 'connected':
      console.log('Connected to Rampart event stream');
      break;
    case 'audit':
      console.log('Audit event:', data.event.tool, data.event.decision.action);
      // Update UI with new audit event
      break;
    case 'approvals':
      console.log('Approval queue changed — refreshing...');
      // Re-fetch GET /v1/approvals
      break;
    case 'audit_batch':
      console.log('Bulk audit event for run:', data.run_id);
      // Re-fetch audit history
      break;
  }
};

eventSource.onerror = (error) => {
  console.error('SSE error:', error);
  // EventSource will automatically reconnect
};
