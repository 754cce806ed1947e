/* How a command gets from its sender to its end: one topic (<base>/mode/set), one broker, one bot.
 *
 * README.md says what each part stands for in the code and what is left out. Each `#ifdef` takes one rule away;
 * `check` shows that spin then finds the harm.
 */

#ifndef COMMANDS
#define COMMANDS 3      /* how many are published */
#endif
#ifndef FAULTS
#define FAULTS 2        /* how often the line is cut or the bot killed, together */
#endif
#ifndef REPEATS
#define REPEATS 1       /* how often a sender repeats a command that has an id */
#endif

#define QUEUE 11        /* room; running out of it is reported */
#define JOURNAL 9

#define BIT(c) (1 << (c))
#define HAS(set, c) (((set) >> (c)) & 1)

/* ------------------------------------------------------------------------------------------------ the commands --- */

mtype:kind = { LIVE1, KEPT1, KEPT0 }    /* QoS 1; QoS 1 and retained; QoS 0 and retained */

bool is_active[COMMANDS];               /* ACTIVE, or else STANDBY */
byte published;                         /* how many are; they are numbered in the order of their sending */
byte repeats;
bool have_ids;                          /* no two payloads are alike; else all that say the same are */

#define PAYLOAD(c) (have_ids -> (c) : is_active[c])
#define PRINT(c) BIT(PAYLOAD(c))

/* -------------------------------------------------------------------------------------- the broker and the line --- */

#define ECHO COMMANDS                   /* the empty message that clears the mailbox, on its way back to the bot */
#define MARK (COMMANDS + 1)             /* the bot's heartbeat to itself: the end of what waited */
#define NOBODY COMMANDS

/* What has its place on the disk among the commands and is none (Inbox._note). */
#define EMPTIED ECHO                    /* the mailbox is */
#define CONNECTED (COMMANDS + 1)        /* and the mailbox unread from here on */
#define SETTLED (COMMANDS + 2)          /* the mailbox has been read, what waited is decided */
#define FILLED (COMMANDS + 3)           /* and up: the mailbox may hold this payload again */

mtype:known = { UNKNOWN, IN_MEMORY, ON_DISK }

/* The session: what is to be delivered, in order, and what was delivered and is not acknowledged. */
typedef Packet {
    byte what;                          /* a command, ECHO or MARK */
    bool retained;                      /* out of the mailbox, because of a SUBSCRIBE */
    bool qos1;
    bool dup;                           /* of an echo: it comes again */
    bool read;                          /* by the bot, on this connection */
    mtype:known known                   /* whether the bot knows its identifier */
}
Packet queue[QUEUE];
byte queued;

byte mailbox = NOBODY;                  /* the command that is retained */
bool mailbox_qos1;
bool forbids_clear;

mtype:line = { DOWN, ACCEPTED, SUBSCRIBED }
mtype:line line = DOWN;
bool deaf;                              /* from here on the broker hears nothing; the line will be cut */
bool marked;
byte clears;                            /* on their way to the broker */

/* ------------------------------------------------------------------------------------------------- the bot --- */

mtype:stage = { ARRIVED, HELD, WAITING, URGENT, REFUSED, STORED }

/* A command that has not ended, or a note. ARRIVED is in memory only, the other stages are on disk. */
typedef Entry {
    mtype:stage stage;
    byte what;
    bool qos1;                          /* to be acknowledged when it is on disk */
    bool from_mailbox;
    bool waited;                        /* came before the end of what waited */
    bool candidate;                     /* to be ordered against what else waited */
    bool unsettled;                     /* the same on disk: Journal.seen_since_mailbox_was_read */
    bool duplicate;                     /* its id is in the journal already */
    bool ambiguous;
    bool ambiguous_on_disk;
    bool overtaken;                     /* older than a STANDBY that was begun: Dispatcher._overtaken_before */
    bool older                          /* older than what set the mode: Desired.mode_seq */
}
Entry journal[JOURNAL];                 /* in the order of their arrival */
byte entries;
byte pending;                           /* those that are commands */

/* on disk */
byte recorded;                          /* the commands that ever came: what ids are compared with */
byte prints_on_disk;                    /* payloads handled since the mailbox was last known to be empty */
bool unread_on_disk;                    /* the commands from here on may have waited: `mailbox_unread_since` */
bool queued_on_disk, kept_on_disk;      /* a STANDBY is among them, out of the queue, out of the mailbox */

/* in memory */
byte prints;
bool unread = true;                     /* the mailbox has not been read to its end */
bool settling = true;                   /* nor has been decided what waited */
bool end_seen;
byte before_end;                        /* arrivals that the end of what waited stands behind */
bool standby_queued, standby_kept;      /* what waited and is not settled, the executed included */
bool clearing;                          /* a clear was sent on this connection and has not come back */
#ifdef RESENT_AFTER_RECONNECT
bool unconfirmed;                       /* a clear has no PUBACK */
#endif

/* ------------------------------------------------------------------------------------------- what must not be --- */

byte owed, only_in_mailbox;             /* sets, one bit each */
byte executed, executed_from_mailbox, answered_standby;
bool lost, twice, backwards, reopened;

hidden byte i, j, k;                    /* of no meaning between steps */
hidden byte payload;

/* --------------------------------------------------------------------------------------------------- the line --- */

inline deliver(command, is_retained, is_qos1) {
    assert(queued < QUEUE);
    queue[queued].what = command;
    queue[queued].retained = is_retained;
    queue[queued].qos1 = is_qos1;
    queue[queued].known = UNKNOWN;
    queued++
}

inline remove_packet(at) {
    queued--;
    for (k : at .. QUEUE - 2) {
        queue[k].what = queue[k + 1].what;
        queue[k].retained = queue[k + 1].retained;
        queue[k].qos1 = queue[k + 1].qos1;
        queue[k].dup = queue[k + 1].dup;
        queue[k].read = queue[k + 1].read;
        queue[k].known = queue[k + 1].known
    }
    queue[QUEUE - 1].what = 0;
    queue[QUEUE - 1].retained = false;
    queue[QUEUE - 1].qos1 = false;
    queue[QUEUE - 1].dup = false;
    queue[QUEUE - 1].read = false;
    queue[QUEUE - 1].known = 0
}

/* The bot sends a PUBACK, or is done with a message of QoS 0. */
inline acknowledge(at) {
    if
    :: !queue[at].qos1 || !deaf -> remove_packet(at)
    :: else -> queue[at].read = true
    fi
}

inline publish(c, kind) {
    if
    :: kind != LIVE1 ->
        mailbox = c;
        mailbox_qos1 = (kind == KEPT1)
    :: else
    fi;
    if
    :: kind != KEPT0 || line != DOWN -> deliver(c, false, kind != KEPT0)
    :: else
    fi
}

/* To end are: what the broker acknowledged; and what only the mailbox holds while the bot is away, unless a newer one
 * takes its place there, or its bytes are those of another command. */
inline owe(c, kind) {
    owed = owed | BIT(c);
    if
    :: kind != LIVE1 -> owed = owed & ~only_in_mailbox
    :: else
    fi;
    if
    :: kind == KEPT0 -> only_in_mailbox = only_in_mailbox | BIT(c)
    :: else
    fi;
    k = 0;
    do
    :: k < c && PRINT(k) == PRINT(c) -> owed = owed & ~(only_in_mailbox & (BIT(c) | BIT(k))); k++
    :: k < c && PRINT(k) != PRINT(c) -> k++
    :: else -> break
    od;
    if
    :: kind == KEPT0 && line != DOWN -> owed = owed & ~BIT(c)
    :: else
    fi;
    only_in_mailbox = only_in_mailbox & owed
}

/* The session keeps what has QoS 1 and is not acknowledged; it comes again, in its order. */
inline cut_line() {
    line = DOWN;
    deaf = false;
    marked = false;
    clears = 0;
    i = 0;
    do
    :: i < queued && (!queue[i].qos1 || queue[i].what == MARK) -> remove_packet(i)
    :: i < queued && queue[i].qos1 && queue[i].what != MARK ->
        queue[i].read = false;
        queue[i].dup = (queue[i].what == ECHO);     /* with the others it tells nothing more */
        i++
    :: else -> break
    od;
    i = 0
}

/* ------------------------------------------------------------------------- the bot: inbox.py, its way out --- */

/* Inbox._clear; what is sent while the subscriptions do not stand is lost. */
inline clear_mailbox() {
    if
#ifdef CLEARED_WHILE_UNREAD
    :: !clearing ->
#else
    :: !unread && !clearing ->
#endif
        clearing = true;
        if
        :: line == SUBSCRIBED && !forbids_clear ->
            printf("bot: sends a clear\n");
#ifdef RESENT_AFTER_RECONNECT
            unconfirmed = true;
#endif
            clears = clears + (deaf -> 0 : 1)
#ifdef FORGOTTEN_ON_PUBACK
        :: line == SUBSCRIBED && forbids_clear ->       /* MQTT 3.1.1 has a PUBACK for what is forbidden too */
            prints = 0;
            prints_on_disk = 0
#endif
        :: else
        fi;
#ifdef FORGOTTEN_WHEN_CLEARING
        prints = 0;
        prints_on_disk = 0
#endif
    :: else
    fi
}

/* Inbox.finished */
inline finished() {
#ifdef CLEARED_THOUGH_NEWER_WAITS
    clear_mailbox()
#else
    if
    :: pending == 0 -> clear_mailbox()
    :: else
    fi
#endif
}

inline remove_entry(at) {
    entries--;
    for (k : at .. JOURNAL - 2) {
        journal[k].stage = journal[k + 1].stage;
        journal[k].what = journal[k + 1].what;
        journal[k].qos1 = journal[k + 1].qos1;
        journal[k].from_mailbox = journal[k + 1].from_mailbox;
        journal[k].waited = journal[k + 1].waited;
        journal[k].candidate = journal[k + 1].candidate;
        journal[k].unsettled = journal[k + 1].unsettled;
        journal[k].duplicate = journal[k + 1].duplicate;
        journal[k].ambiguous = journal[k + 1].ambiguous;
        journal[k].ambiguous_on_disk = journal[k + 1].ambiguous_on_disk;
        journal[k].overtaken = journal[k + 1].overtaken;
        journal[k].older = journal[k + 1].older
    }
    journal[JOURNAL - 1].stage = 0;
    journal[JOURNAL - 1].what = 0;
    journal[JOURNAL - 1].qos1 = false;
    journal[JOURNAL - 1].from_mailbox = false;
    journal[JOURNAL - 1].waited = false;
    journal[JOURNAL - 1].candidate = false;
    journal[JOURNAL - 1].unsettled = false;
    journal[JOURNAL - 1].duplicate = false;
    journal[JOURNAL - 1].ambiguous = false;
    journal[JOURNAL - 1].ambiguous_on_disk = false;
    journal[JOURNAL - 1].overtaken = false;
    journal[JOURNAL - 1].older = false
}

/* The end is on disk; the answer goes out, and the mailbox is emptied. */
inline end_entry(s) {
    owed = owed & ~BIT(journal[s].what);
    only_in_mailbox = only_in_mailbox & owed;
    remove_entry(s);
    pending--;
    finished()
}

/* The first entry in a stage; JOURNAL, where there is none. */
#define AT(s, wanted, after) (journal[s].stage == wanted -> s : after)
#define FIRST(wanted) \
    AT(0, wanted, AT(1, wanted, AT(2, wanted, AT(3, wanted, AT(4, wanted, AT(5, wanted, AT(6, wanted, \
    AT(7, wanted, AT(8, wanted, JOURNAL)))))))))
#define ANY(wanted) (FIRST(wanted) < JOURNAL)

/* -------------------------------------------------------------------------- the bot: inbox.py, its way in --- */

#define IS_URGENT(s) (!is_active[journal[s].what])

/* Dispatcher.submit */
inline submit(s) {
    if
    :: IS_URGENT(s) && !journal[s].duplicate ->
        journal[s].stage = URGENT;
#ifndef NO_OVERTAKING_MARK
        k = 0;
        do
        :: k < s -> journal[k].overtaken = true; k++
        :: else -> break
        od
#endif
    :: else ->
        /* Nothing runs, so nothing waits for its turn; but a duplicate waits for the end of the first. */
        k = 0;
        do
        :: k < s && (journal[k].what != journal[s].what || journal[k].stage == STORED) -> k++
        :: else -> break
        od;
        journal[s].stage = ((journal[s].ambiguous || (journal[s].duplicate && k == s)) -> REFUSED : WAITING)
    fi
}

/* Inbox._route */
inline route(s) {
    if
#ifndef NO_SETTLING
    :: settling && journal[s].waited && !journal[s].ambiguous && (!IS_URGENT(s) || journal[s].from_mailbox) ->
        journal[s].stage = HELD
#endif
    :: else -> submit(s)
    fi
}

/* Inbox.on_packet: the first packet that was not read. */
inline read_packet() {
    j = 0;
    do
    :: queue[j].read -> j++
    :: else -> break
    od;
    printf("bot: reads %d, retained %d\n", queue[j].what, queue[j].retained);
    if
    :: queue[j].what == MARK ->
        remove_packet(j);
        if
        :: unread -> read_end()
        :: else
        fi
    :: queue[j].what == ECHO -> read_echo()
    :: else -> read_command()
    fi
}

/* Inbox.on_mailbox_read */
inline read_end() {
    unread = false;
    end_seen = true;
    before_end = 0;
    i = 0;
    do
    :: i < entries -> before_end = before_end + (journal[i].stage == ARRIVED -> 1 : 0); i++
    :: else -> break
    od;
    i = 0
}

/* Inbox._note */
inline note(which, acknowledges) {
    assert(entries < JOURNAL);
    journal[entries].stage = ARRIVED;
    journal[entries].what = which;
    journal[entries].qos1 = acknowledges;
    entries++
}

/* Inbox._on_cleared */
inline read_echo() {
    clearing = false;
#ifdef RESENT_AFTER_RECONNECT
    unconfirmed = false;
#endif
    if
#ifdef OLD_ECHO_BELIEVED
    :: prints != 0 ->
#else
    :: prints != 0 && !queue[j].dup ->
#endif
        prints = 0;
        queue[j].read = true;
        note(EMPTIED, true)
    :: else -> acknowledge(j)
    fi
}

inline read_command() {
    if
#ifndef NO_PACKET_MEMORY
    :: queue[j].known != UNKNOWN -> read_again()
#endif
    :: else ->
        if
        :: queue[j].retained && (prints & PRINT(queue[j].what)) ->
            acknowledge(j);
            if
            :: pending == 0 -> clear_mailbox()
            :: else
            fi
        :: else -> take()
        fi
    fi
}

/* Unconfirmed.is_known, Inbox._came_again */
inline read_again() {
    if
#ifndef NOT_FILLED_AGAIN
    :: !(prints & PRINT(queue[j].what)) ->
        printf("bot: the mailbox may hold that again\n");
        prints = prints | PRINT(queue[j].what);
        queue[j].read = true;
        payload = FILLED + PAYLOAD(queue[j].what);
        note(payload, queue[j].known == ON_DISK)
#endif
    :: else ->
        if
        :: queue[j].known == IN_MEMORY -> queue[j].read = true
        :: else -> acknowledge(j)
        fi
    fi
}

/* Inbox._take */
inline take() {
    assert(entries < JOURNAL);
    journal[entries].stage = ARRIVED;
    journal[entries].what = queue[j].what;
    journal[entries].qos1 = queue[j].qos1;
    journal[entries].from_mailbox = queue[j].retained;
    journal[entries].waited = unread;
#ifndef NO_FINGERPRINT
    prints = prints | PRINT(queue[j].what);
#endif
#ifdef ACKNOWLEDGED_BEFORE_DISK
    journal[entries].qos1 = false;
    queue[j].known = ON_DISK;
    acknowledge(j);
#else
    queue[j].known = IN_MEMORY;
    if
    :: queue[j].qos1 -> queue[j].read = true
    :: else -> acknowledge(j)
    fi;
#endif
    entries++;
    pending++
}

/* The first packet on this connection that was not acknowledged and is what is said. */
inline acknowledge_first(is_it) {
    i = 0;
    do
    :: i < queued && !(is_it) -> i++
    :: else -> break
    od;
    if
    :: i < queued -> acknowledge(i)
    :: else
    fi
}

inline write_connected() { unread_on_disk = true }

inline write_settled() {
    unread_on_disk = false;
    queued_on_disk = false;
    kept_on_disk = false;
    for (k : 0 .. JOURNAL - 1) {
        journal[k].unsettled = false;
#ifndef REFUSAL_FORGOTTEN
        journal[k].ambiguous_on_disk = journal[k].ambiguous
#endif
    }
}

/* Inbox.run: the oldest arrival, a note, is on disk. */
inline store_note(s) {
    if
    :: journal[s].what == EMPTIED ->
        prints_on_disk = 0;
        if
        :: journal[s].qos1 -> acknowledge_first(queue[i].read && queue[i].what == ECHO)
        :: else
        fi
    :: journal[s].what == CONNECTED -> write_connected()
    :: journal[s].what == SETTLED -> write_settled()
    :: else ->
        prints_on_disk = prints_on_disk | BIT(journal[s].what - FILLED);
        if
        :: journal[s].qos1 -> acknowledge_first(queue[i].read && queue[i].known == ON_DISK)
        :: else
        fi
    fi;
    remove_entry(s);
    count_before_end()
}

inline count_before_end() {
    if
    :: end_seen && before_end > 0 -> before_end--
    :: else
    fi
}

/* Inbox._follow: the oldest arrival, a command, is on disk (journal._record), is acknowledged and goes on. */
inline follow(s) {
    printf("bot: %d is on disk\n", journal[s].what);
#ifndef NO_ID_MEMORY
    journal[s].duplicate = have_ids && HAS(recorded, journal[s].what);
#endif
    recorded = recorded | (have_ids -> BIT(journal[s].what) : 0);
#ifndef NO_FINGERPRINT
#ifndef FINGERPRINT_IN_MEMORY
    prints_on_disk = prints_on_disk | PRINT(journal[s].what);
#endif
#endif
    if
    :: journal[s].waited && !journal[s].duplicate ->
        journal[s].candidate = true;
        standby_kept = standby_kept || (IS_URGENT(s) && journal[s].from_mailbox);
        standby_queued = standby_queued || (IS_URGENT(s) && !journal[s].from_mailbox)
    :: else
    fi;
    if
    :: unread_on_disk && !journal[s].duplicate ->
        journal[s].unsettled = true;
        kept_on_disk = kept_on_disk || (IS_URGENT(s) && journal[s].from_mailbox);
        queued_on_disk = queued_on_disk || (IS_URGENT(s) && !journal[s].from_mailbox)
    :: else
    fi;
    if
    :: journal[s].qos1 ->
        journal[s].qos1 = false;
        i = 0;
        do
        :: i < queued && queue[i].known != IN_MEMORY -> i++
        :: else -> break
        od;
        if
        :: i < queued && queue[i].read ->
            queue[i].known = ON_DISK;
            acknowledge(i)
        :: i < queued && !queue[i].read -> queue[i].known = ON_DISK
        :: else
        fi
    :: else
    fi;
    count_before_end();
    route(s);
    journal[s].waited = false
}

/* Inbox._settle and ordering.settle: what came out of the mailbox against what came out of the queue. */
inline settle() {
    printf("bot: decides what waited\n");
    end_seen = false;
    settling = false;
    i = 0;
    do
    :: i < entries ->
#ifndef NO_AMBIGUITY
        if
        :: journal[i].candidate && !IS_URGENT(i) ->
            journal[i].ambiguous = (journal[i].from_mailbox -> standby_queued : standby_kept)
        :: else
        fi;
#endif
        journal[i].candidate = false;
        if
        :: journal[i].stage == HELD -> submit(i)
        :: else
        fi;
        i++
    :: else -> break
    od;
    standby_queued = false;
    standby_kept = false;
    /* What comes in its turn at once leaves no room for anything between. */
    if
    :: ANY(ARRIVED) -> note(SETTLED, false)
    :: else -> write_settled()
    fi;
    if
    :: prints != 0 && pending == 0 -> clear_mailbox()
    :: else
    fi
}

/* Inbox.on_session */
inline begin_session() {
    printf("bot: connects\n");
    line = ACCEPTED;
#ifdef RESENT_AFTER_RECONNECT
    clears = unconfirmed;
#endif
    clearing = false;
    unread = true;
    settling = true;
    i = 0;
    do
    :: i < entries -> journal[i].qos1 = (journal[i].what < COMMANDS && journal[i].qos1); i++
    :: else -> break
    od;
    i = 0;
    if
    :: ANY(ARRIVED) -> note(CONNECTED, false)
    :: else -> write_connected()
    fi;
#ifndef OLD_END_BELIEVED
    end_seen = false;
    before_end = 0;
#endif
    skip
}

/* Inbox.load: a new process takes over what is on disk. */
inline start_again() {
    prints = prints_on_disk;
    unread = true;
    settling = true;
    end_seen = false;
    before_end = 0;
    clearing = false;
#ifdef RESENT_AFTER_RECONNECT
    unconfirmed = false;
#endif
#ifdef WAITED_FORGOTTEN
    standby_queued = false;
    standby_kept = false;
#else
    standby_queued = queued_on_disk;
    standby_kept = kept_on_disk;
#endif
    i = 0;
    do
    :: i < queued -> queue[i].known = (queue[i].known == IN_MEMORY -> UNKNOWN : queue[i].known); i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < entries && journal[i].stage == ARRIVED ->
        pending = pending - (journal[i].what < COMMANDS -> 1 : 0);
        remove_entry(i)
    :: i < entries && journal[i].stage == STORED ->
        owed = owed & ~BIT(journal[i].what);
        only_in_mailbox = only_in_mailbox & owed;
        remove_entry(i);
        pending--
    :: i < entries && journal[i].stage != ARRIVED && journal[i].stage != STORED ->
#ifdef NO_RESUMING
        remove_entry(i);
        pending--
#else
        journal[i].overtaken = journal[i].older;
#ifdef WAITED_FORGOTTEN
        journal[i].candidate = false;
#else
        journal[i].candidate = journal[i].unsettled && !journal[i].ambiguous_on_disk;
#endif
        journal[i].ambiguous = journal[i].ambiguous_on_disk;
        journal[i].waited = true;
        route(i);
        journal[i].waited = false;
        i++
#endif
    :: else -> break
    od;
    i = 0
}

/* ------------------------------------------------------------------------------------- the bot: dispatcher.py --- */

/* Dispatcher._refuse_unread and _refuse_by_age */
#ifdef NO_SUPERSEDING
#define IS_SUPERSEDED(s) false
#else
#define IS_SUPERSEDED(s) (journal[s].older || (is_active[journal[s].what] && journal[s].overtaken))
#endif
#define IS_REFUSED(s) (journal[s].duplicate || IS_SUPERSEDED(s))

/* Dispatcher._try up to journal.finish: effect and end are on disk, in one transaction. */
inline execute(s) {
    i = journal[s].what;
    printf("bot: %d is executed\n", i);
    if
    :: HAS(executed, i) -> twice = true
    :: else
    fi;
    for (k : 0 .. COMMANDS - 1) {
        if
        :: k > i && HAS(executed, k) && is_active[i] && !is_active[k] -> backwards = true
        /* Where nothing tells which came last the less risky one may win. */
        :: k > i && HAS(executed, k) && !is_active[i] && is_active[k] &&
           !journal[s].from_mailbox && !HAS(executed_from_mailbox, k) -> backwards = true
        :: else
        fi
    }
    executed = executed | BIT(i);
    if
    :: journal[s].from_mailbox && is_active[i] -> executed_from_mailbox = executed_from_mailbox | BIT(i)
    :: else
    fi;
    if
    :: !journal[s].older ->
        k = 0;
        do
        :: k < s -> journal[k].older = true; k++
        :: else -> break
        od
    :: else
    fi;
    journal[s].stage = STORED;
    assert(!twice);
    assert(!backwards)
}

/* Dispatcher._follow, _answer, and Inbox.finished. */
inline answer(s) {
    i = journal[s].what;
    if
    :: is_active[i] && !journal[s].older && !journal[s].overtaken ->    /* the gate opens */
        reopened = (answered_standby >> i) != 0;
        k = s;
        do
        :: k < entries -> reopened = reopened || journal[k].stage == URGENT; k++
        :: else -> break
        od;
        assert(!reopened)
    :: !is_active[i] -> answered_standby = answered_standby | BIT(i)
    :: else
    fi;
    end_entry(s)
}

/* ------------------------------------------------------------------------------------------------- who acts --- */

active proctype sender() {
    mtype:kind kind;                    /* of the last command */

    atomic {
        if :: have_ids = true :: have_ids = false fi;
        if :: forbids_clear = true :: forbids_clear = false fi
    }
end:
    do
    :: atomic { published < COMMANDS ->
        if :: is_active[published] = true :: is_active[published] = false fi;
        if :: kind = LIVE1 :: kind = KEPT1 :: kind = KEPT0 fi;
        d_step {
            printf("sender: %d, active %d, %e\n", published, is_active[published], kind);
            publish(published, kind);
            owe(published, kind);
            published++;
            kind = ((have_ids && repeats < REPEATS) -> kind : LIVE1)
        }
       }
    :: d_step { have_ids && repeats < REPEATS && published > 0 && kind != KEPT0 ->
        printf("sender: %d once more\n", published - 1);
        publish(published - 1, kind);
        repeats++;
        kind = LIVE1
       }
    od
}

/* A new connection begins with the SUBSCRIBE; paho would send first what the last one left unacknowledged. */
#ifdef RESENT_AFTER_RECONNECT
#define SUBSCRIBE_ARRIVES (clears == 0)
#else
#define SUBSCRIBE_ARRIVES true
#endif

active proctype broker() {
end:
    do
    :: d_step { line == ACCEPTED && !deaf && SUBSCRIBE_ARRIVES ->
        printf("broker: subscribes the bot\n");
        line = SUBSCRIBED;
        if
        :: mailbox != NOBODY -> deliver(mailbox, true, mailbox_qos1)
        :: else
        fi
       }
    :: d_step { line == SUBSCRIBED && !deaf && !marked ->
        marked = true;
        deliver(MARK, false, true)
       }
    :: d_step { clears > 0 ->
        printf("broker: is to clear the mailbox\n");
        clears--;
        mailbox = NOBODY;
        mailbox_qos1 = false;
        deliver(ECHO, false, true)
       }
    od
}

active proctype fault() {
    byte left = FAULTS;
end:
    do
    :: d_step { left > 0 && line != DOWN && !deaf ->
        printf("fault: the broker hears nothing any more\n");
        deaf = true;
        clears = 0
       }
    :: d_step { left > 0 && line != DOWN ->
        printf("fault: the line is cut\n");
        left--;
        cut_line()
       }
    :: d_step { left > 0 ->
        printf("fault: the bot is killed\n");
        left--;
        cut_line();
        start_again()
       }
    od
}

#define MAY_FOLLOW (ANY(ARRIVED) && !(end_seen && before_end == 0))
#define MAY_SETTLE (end_seen && before_end == 0)
#define MAY_READ (line != DOWN && queued > 0 && !queue[queued - 1].read)
#define IS_QUIET \
    (published == COMMANDS && line == SUBSCRIBED && marked && !deaf && queued == 0 && clears == 0 && entries == 0 && \
     !settling)

active proctype bot() {
    do
    :: d_step { line == DOWN -> begin_session() }
    :: d_step { MAY_READ -> read_packet() }
    :: d_step { MAY_FOLLOW ->
        j = FIRST(ARRIVED);
        if
        :: journal[j].what < COMMANDS -> follow(j)
        :: else -> store_note(j)
        fi
       }
    :: d_step { ANY(REFUSED) -> j = FIRST(REFUSED); end_entry(j) }
    :: d_step { MAY_SETTLE -> settle() }
    :: d_step { ANY(URGENT) && !ANY(STORED) && IS_SUPERSEDED(FIRST(URGENT)) -> j = FIRST(URGENT); end_entry(j) }
    :: d_step { ANY(URGENT) && !ANY(STORED) && !IS_SUPERSEDED(FIRST(URGENT)) -> j = FIRST(URGENT); execute(j) }
    :: d_step { ANY(WAITING) && !ANY(STORED) && IS_REFUSED(FIRST(WAITING)) -> j = FIRST(WAITING); end_entry(j) }
    :: d_step { ANY(WAITING) && !ANY(STORED) && !IS_REFUSED(FIRST(WAITING)) && !ANY(URGENT) ->
        j = FIRST(WAITING);
        execute(j)
       }
    :: d_step { ANY(STORED) -> j = FIRST(STORED); answer(j) }
    :: atomic { IS_QUIET -> lost = (owed != 0); assert(!lost); break }
    od
}
