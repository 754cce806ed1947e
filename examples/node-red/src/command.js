// Sends msg.payload to msg.topic (below the base topic) as a command of its own id, and waits for the bot's answer.
const { topic, payload } = msg;
const now = Date.now();
const id = msg.id || `node-red-${RED.util.generateId()}${RED.util.generateId()}`;
const command = {
    ...(payload !== null && typeof payload === "object" ? payload : { value: payload }),
    id,
    source: "node-red",
    issued_at: new Date(now).toISOString(),
    // After a minute the bot no longer runs it, where it raises risk; what lowers risk does not expire.
    expires_at: new Date(now + 60000).toISOString(),
};
const waiting = flow.get("waiting") || {};
waiting[id] = { ...msg, id, sent_at: now };
flow.set("waiting", waiting);
node.status({ fill: "blue", shape: "ring", text: `${topic} sent` });
return { topic: `${env.get("BASE")}/${topic}`, payload: JSON.stringify(command) };
