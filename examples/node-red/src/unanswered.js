// Sends again, with the same id, what has had no answer for 10 s: the bot runs it once. After three times it says so.
// Outputs: again; no answer.
const waiting = flow.get("waiting") || {};
const again = [];
const given_up = [];
for (const [id, command] of Object.entries(waiting)) {
    if (Date.now() - command.sent_at < 10000) continue;
    const tries = (command.tries || 1) + 1;
    if (tries <= 3) again.push({ ...command, tries });
    else {
        delete waiting[id];
        given_up.push({ topic: command.topic, payload: `${command.topic}: no answer. Is the bot running?` });
    }
}
return [again, given_up];
