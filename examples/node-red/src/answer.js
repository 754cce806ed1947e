// Finds the command that an answer belongs to. Outputs: it was executed; it was not.
const waiting = flow.get("waiting") || {};
const answer = JSON.parse(msg.payload);
const command = waiting[answer.id];
if (!command) return [null, null];
delete waiting[answer.id];
const says = answer.error ? `${answer.error.message} (${answer.error.code})` : "";
node.status({ fill: answer.error ? "red" : "green", shape: "dot", text: `${command.topic} ${answer.status}` });
const told = { topic: command.topic, payload: `${command.topic}: ${answer.status}. ${says}`.trim(), answer };
// DUPLICATE: it ran when it was sent the first time.
return ["EXECUTED", "DUPLICATE"].includes(answer.status) ? [told, null] : [null, told];
