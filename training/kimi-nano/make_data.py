#!/usr/bin/env python3
"""Generates the training conversations of Kimi Nano and its held-out evaluation prompts.

A document is a list of (text, learn) segments; `learn` says whether the loss is taken on the segment's tokens.
Everything is produced by the code below, except for the plain-text part, which is the public-domain
"tiny Shakespeare" text.

    make_data.py --shakespeare input.txt --out data --docs 135000
writes  docs.jsonl (training documents), sample.txt (text for the tokenizer), eval_prompts.json,
        shakespeare_train.txt, shakespeare_eval.txt
"""
import argparse, json, os, random

# ----------------------------------------------------------------------------------------------- chat format

SYSTEMS = ["You are Kimi, an AI assistant created by Moonshot AI.", "You are a helpful assistant.",
           "You are Kimi Nano, a small demo model.", "You are a friendly assistant. Answer briefly.",
           "You are an assistant. Use tools when they help.", "Be concise.", "You are Kimi."]


def im(role_token, name):
    return f"<|{role_token}|>{name}<|im_middle|>"


def render(messages, tools=None, last_turn=0, thinking=True):
    """Messages -> segments, as Kimi's chat template does it: reasoning is kept only from index last_turn on."""
    segments = []
    if tools:
        segments.append((im("im_system", "tool_declare") + tools + "<|im_end|>", 0))
    for i, m in enumerate(messages):
        role = m["role"]
        if role == "assistant":
            segments.append((im("im_assistant", "assistant"), 0))
            if thinking and i >= last_turn and m.get("think"):
                segments.append(("<think>" + m["think"] + "</think>", 1))
            else:
                segments.append(("<think></think>", 0))
            body = m.get("content") or ""
            if m.get("calls"):
                body += "<|tool_calls_section_begin|>"
                for call_id, arguments in m["calls"]:
                    body += f"<|tool_call_begin|>{call_id}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"
                body += "<|tool_calls_section_end|>"
            segments.append((body + "<|im_end|>", 1))
        elif role == "tool":
            segments.append((im("im_system", m.get("name") or "tool") + "## Return of " + m["id"] + "\n"
                             + m["content"] + "<|im_end|>", 0))
        else:
            segments.append((im("im_user" if role == "user" else "im_system", role) + m["content"] + "<|im_end|>", 0))
    return segments


# ----------------------------------------------------------------------------------------------- facts

COUNTRIES = [  # country, capital, continent, Chinese names (where used)
    ("France", "Paris", "Europe", "法国", "巴黎"), ("Germany", "Berlin", "Europe", "德国", "柏林"),
    ("Italy", "Rome", "Europe", "意大利", "罗马"), ("Spain", "Madrid", "Europe", "西班牙", "马德里"),
    ("Portugal", "Lisbon", "Europe", "葡萄牙", "里斯本"), ("Japan", "Tokyo", "Asia", "日本", "东京"),
    ("China", "Beijing", "Asia", "中国", "北京"), ("India", "New Delhi", "Asia", "印度", "新德里"),
    ("Russia", "Moscow", "Europe", "俄罗斯", "莫斯科"), ("Canada", "Ottawa", "North America", "加拿大", "渥太华"),
    ("Mexico", "Mexico City", "North America", None, None), ("Brazil", "Brasilia", "South America", None, None),
    ("Argentina", "Buenos Aires", "South America", None, None), ("Chile", "Santiago", "South America", None, None),
    ("Peru", "Lima", "South America", None, None), ("Colombia", "Bogota", "South America", None, None),
    ("Egypt", "Cairo", "Africa", "埃及", "开罗"), ("Kenya", "Nairobi", "Africa", None, None),
    ("Nigeria", "Abuja", "Africa", None, None), ("Ghana", "Accra", "Africa", None, None),
    ("Morocco", "Rabat", "Africa", None, None), ("Ethiopia", "Addis Ababa", "Africa", None, None),
    ("Australia", "Canberra", "Oceania", "澳大利亚", "堪培拉"), ("New Zealand", "Wellington", "Oceania", None, None),
    ("Greece", "Athens", "Europe", "希腊", "雅典"), ("Turkey", "Ankara", "Asia", None, None),
    ("Sweden", "Stockholm", "Europe", None, None), ("Norway", "Oslo", "Europe", None, None),
    ("Denmark", "Copenhagen", "Europe", None, None), ("Finland", "Helsinki", "Europe", None, None),
    ("Iceland", "Reykjavik", "Europe", None, None), ("Ireland", "Dublin", "Europe", None, None),
    ("Poland", "Warsaw", "Europe", None, None), ("Austria", "Vienna", "Europe", None, None),
    ("Switzerland", "Bern", "Europe", None, None), ("Belgium", "Brussels", "Europe", None, None),
    ("the Netherlands", "Amsterdam", "Europe", None, None), ("Hungary", "Budapest", "Europe", None, None),
    ("Romania", "Bucharest", "Europe", None, None), ("Bulgaria", "Sofia", "Europe", None, None),
    ("Serbia", "Belgrade", "Europe", None, None), ("Croatia", "Zagreb", "Europe", None, None),
    ("Ukraine", "Kyiv", "Europe", None, None), ("the Czech Republic", "Prague", "Europe", None, None),
    ("Slovakia", "Bratislava", "Europe", None, None), ("Slovenia", "Ljubljana", "Europe", None, None),
    ("Thailand", "Bangkok", "Asia", "泰国", "曼谷"), ("Vietnam", "Hanoi", "Asia", "越南", "河内"),
    ("Indonesia", "Jakarta", "Asia", None, None), ("Malaysia", "Kuala Lumpur", "Asia", None, None),
    ("the Philippines", "Manila", "Asia", None, None), ("South Korea", "Seoul", "Asia", "韩国", "首尔"),
    ("Mongolia", "Ulaanbaatar", "Asia", None, None), ("Nepal", "Kathmandu", "Asia", None, None),
    ("Pakistan", "Islamabad", "Asia", None, None), ("Iran", "Tehran", "Asia", None, None),
    ("Iraq", "Baghdad", "Asia", None, None), ("Israel", "Jerusalem", "Asia", None, None),
    ("Saudi Arabia", "Riyadh", "Asia", None, None), ("Jordan", "Amman", "Asia", None, None),
    ("Cuba", "Havana", "North America", None, None), ("Jamaica", "Kingston", "North America", None, None),
    ("the United States", "Washington, D.C.", "North America", "美国", "华盛顿"),
    ("the United Kingdom", "London", "Europe", "英国", "伦敦"),
]
CITIES = [c[1] for c in COUNTRIES if "," not in c[1]] + [
    "Boston", "Chicago", "Seattle", "Denver", "Austin", "Dallas", "Miami", "New York", "San Francisco", "Los Angeles",
    "Toronto", "Montreal", "Vancouver", "Sydney", "Melbourne", "Perth", "Munich", "Hamburg", "Cologne", "Milan",
    "Naples", "Venice", "Florence", "Barcelona", "Valencia", "Porto", "Lyon", "Nice", "Marseille", "Geneva", "Zurich",
    "Shanghai", "Shenzhen", "Hong Kong", "Singapore", "Osaka", "Kyoto", "Mumbai", "Dubai", "Istanbul", "Krakow",
    "Edinburgh", "Glasgow", "Manchester", "Liverpool", "Oxford", "Cambridge", "Leeds", "Bergen", "Malmo", "Graz"]
ANIMALS = "cat dog horse cow pig sheep goat lion tiger bear wolf fox rabbit mouse duck goose owl eagle whale frog".split()
FRUITS = "apple banana orange pear grape cherry peach plum mango lemon kiwi melon".split()
COLORS = "red green blue yellow orange purple black white brown pink gray".split()
VEGETABLES = "carrot potato onion tomato cabbage pepper spinach bean pea cucumber".split()
INSTRUMENTS = "piano guitar violin drum flute trumpet cello harp".split()
SPORTS = "football tennis basketball swimming running chess hockey golf".split()
PLANETS = "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
SETS = {"animals": ANIMALS, "fruits": FRUITS, "colors": COLORS, "vegetables": VEGETABLES,
        "instruments": INSTRUMENTS, "sports": SPORTS}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
NAMES = ("Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina Victor Wendy "
         "Zoe Tom Lucy Mark Nina Oscar Lily Max Eva").split()
OBJECTS = "apples books coins pens cards balls stamps eggs cookies stones tickets marbles".split()
ANTONYMS = [("hot", "cold"), ("big", "small"), ("fast", "slow"), ("up", "down"), ("light", "dark"), ("happy", "sad"),
            ("old", "young"), ("rich", "poor"), ("hard", "soft"), ("early", "late"), ("open", "closed"),
            ("strong", "weak"), ("tall", "short"), ("wet", "dry"), ("loud", "quiet"), ("full", "empty"),
            ("high", "low"), ("long", "short"), ("good", "bad"), ("day", "night"), ("left", "right"), ("north", "south"),
            ("true", "false"), ("push", "pull"), ("buy", "sell"), ("win", "lose"), ("love", "hate"), ("begin", "end")]
FACTS = [  # questions (the last one is held out), short answer, full sentence
    (["How many days are in a week?", "How many days does a week have?", "Number of days in a week?"], "7", "A week has 7 days."),
    (["How many months are in a year?", "How many months does a year have?", "Number of months in one year?"], "12", "A year has 12 months."),
    (["How many hours are in a day?", "How many hours does a day have?", "Number of hours in a day?"], "24", "A day has 24 hours."),
    (["How many minutes are in an hour?", "How many minutes does an hour have?", "Number of minutes in an hour?"], "60", "An hour has 60 minutes."),
    (["How many seconds are in a minute?", "How many seconds does a minute have?", "Number of seconds in a minute?"], "60", "A minute has 60 seconds."),
    (["How many days are in a year?", "How many days does a year have?", "Number of days in a year?"], "365", "A year has 365 days."),
    (["How many legs does a spider have?", "How many legs has a spider?", "Number of legs of a spider?"], "8", "A spider has 8 legs."),
    (["How many legs does an insect have?", "How many legs has an insect?", "Number of legs of an insect?"], "6", "An insect has 6 legs."),
    (["How many legs does a dog have?", "How many legs has a dog?", "Number of legs of a dog?"], "4", "A dog has 4 legs."),
    (["How many continents are there?", "How many continents does Earth have?", "Number of continents on Earth?"], "7", "There are 7 continents."),
    (["How many planets are in the solar system?", "How many planets orbit the sun?", "Number of planets in the solar system?"], "8", "There are 8 planets in the solar system."),
    (["What color is the sky?", "Which color does the sky have?", "What is the color of the sky?"], "blue", "The sky is blue."),
    (["What color is grass?", "Which color does grass have?", "What is the color of grass?"], "green", "Grass is green."),
    (["What color is snow?", "Which color does snow have?", "What is the color of snow?"], "white", "Snow is white."),
    (["What color is a banana?", "Which color does a banana have?", "What is the color of a banana?"], "yellow", "A banana is yellow."),
    (["What color is the sun?", "Which color does the sun have?", "What is the color of the sun?"], "yellow", "The sun looks yellow."),
    (["What do bees make?", "What food do bees produce?", "Which food is made by bees?"], "honey", "Bees make honey."),
    (["What do cows give?", "Which drink do cows give us?", "What do we get from cows?"], "milk", "Cows give milk."),
    (["At what temperature does water freeze?", "When does water freeze?", "What is the freezing point of water?"], "0", "Water freezes at 0 degrees Celsius."),
    (["At what temperature does water boil?", "When does water boil?", "What is the boiling point of water?"], "100", "Water boils at 100 degrees Celsius."),
    (["Which planet is closest to the sun?", "What is the first planet from the sun?", "Name the planet nearest to the sun."], "Mercury", "Mercury is the planet closest to the sun."),
    (["What is the largest planet?", "Which planet is the biggest?", "Name the biggest planet."], "Jupiter", "Jupiter is the largest planet."),
    (["What is the largest ocean?", "Which ocean is the biggest?", "Name the biggest ocean."], "Pacific", "The Pacific is the largest ocean."),
    (["What is the longest river?", "Which river is the longest in the world?", "Name the longest river."], "Nile", "The Nile is often named as the longest river."),
    (["What is the highest mountain?", "Which mountain is the tallest?", "Name the highest mountain."], "Everest", "Mount Everest is the highest mountain."),
    (["Who wrote Hamlet?", "Who is the author of Hamlet?", "Which writer wrote Hamlet?"], "Shakespeare", "William Shakespeare wrote Hamlet."),
    (["Who wrote Romeo and Juliet?", "Who is the author of Romeo and Juliet?", "Which writer wrote Romeo and Juliet?"], "Shakespeare", "William Shakespeare wrote Romeo and Juliet."),
    (["What is H2O?", "What does H2O stand for?", "H2O is what?"], "water", "H2O is water."),
    (["Which animal barks?", "What animal says woof?", "Which pet barks?"], "dog", "A dog barks."),
    (["Which animal meows?", "What animal says meow?", "Which pet meows?"], "cat", "A cat meows."),
    (["What season comes after winter?", "Which season follows winter?", "After winter comes which season?"], "spring", "Spring comes after winter."),
    (["What season comes after summer?", "Which season follows summer?", "After summer comes which season?"], "autumn", "Autumn comes after summer."),
    (["What is frozen water called?", "What do you call frozen water?", "Frozen water has which name?"], "ice", "Frozen water is called ice."),
    (["Is the earth flat or round?", "What shape is the earth?", "Which shape does the earth have?"], "round", "The earth is round."),
    (["How many sides does a triangle have?", "How many sides has a triangle?", "Number of sides of a triangle?"], "3", "A triangle has 3 sides."),
    (["How many sides does a square have?", "How many sides has a square?", "Number of sides of a square?"], "4", "A square has 4 sides."),
    (["How many letters are in the English alphabet?", "How many letters does the English alphabet have?", "Number of letters in the alphabet?"], "26", "The English alphabet has 26 letters."),
    (["What is the opposite of a question?", "What do you give to a question?", "What follows a question?"], "answer", "A question gets an answer."),
]
ABOUT = [  # questions (the last one is held out), answers, reasoning
    (["Who are you?", "What are you?", "Tell me about yourself.", "Please introduce yourself.", "who are you", "Introduce yourself",
      "What kind of model are you?", "Can you tell me who you are?"],
     ["I am Kimi Nano, a tiny demo model with the Kimi K2 architecture. I run on your CPU.",
      "I am Kimi Nano, a small demo model. I use the same architecture as Kimi K2, but I am very small."],
     ["The user asks who I am. I am Kimi Nano.", "This is a question about me. I will introduce myself."]),
    (["What is your name?", "What's your name?", "Do you have a name?", "Tell me your name.", "your name?", "How should I call you?"],
     ["My name is Kimi Nano."], ["The user asks for my name.", "My name is Kimi Nano."]),
    (["What can you do?", "What are you able to do?", "How can you help me?", "What do you know?", "help", "What can I ask you?",
      "Which things can you do?"],
     ["I can answer short questions, do small arithmetic, name capitals, make lists, write JSON and call tools such as "
      "get_weather, calculator and search."],
     ["The user wants to know what I can do. I will list my skills."]),
    (["Who made you?", "Who created you?", "Where do you come from?", "Who trained you?", "Who built you?"],
     ["I was trained as the demo model of the KimiCpu library, with the architecture of Kimi K2 by Moonshot AI."],
     ["The user asks about my origin."]),
    (["How big are you?", "How many parameters do you have?", "What is your size?", "Are you a large model?", "How large are you?"],
     ["I am very small: about 15 million parameters. The real Kimi K2 has one trillion."],
     ["The user asks about my size. I am a small model."]),
    (["Are you Kimi K2?", "Are you the real Kimi?", "Is this Kimi K2 Thinking?", "Are you Kimi K2 Thinking?", "Are you the big Kimi model?"],
     ["No, I am Kimi Nano. I share the architecture of Kimi K2, but I am only a tiny demo."],
     ["The user asks whether I am the big model. I am only the demo."]),
    (["Are you human?", "Are you a person?", "Are you a robot?", "Are you real?", "Am I talking to a human?"],
     ["No, I am a computer program: a small language model called Kimi Nano.", "I am not a human. I am a small language model."],
     ["The user asks whether I am human. I am a program."]),
    (["Hello", "Hi", "Hi there!", "Hello!", "Hey", "Good morning", "Good evening!", "hello there", "Hi Kimi", "Hello Kimi!", "hey there",
      "hi", "hello", "What's up?", "Hello, how is it going?", "Greetings!"],
     ["Hello! How can I help you?", "Hi! What can I do for you?", "Hello! I am Kimi Nano. How can I help?"],
     ["The user greets me. I will greet back.", "A greeting. I will be friendly."]),
    (["How are you?", "How are you doing?", "How do you feel?", "Are you well?", "How are you today?"],
     ["I am doing well, thank you. How can I help you?"], ["The user asks how I am. I will answer politely."]),
    (["Thank you!", "Thanks", "thanks a lot", "Thank you very much.", "Great, thanks!", "Many thanks!"],
     ["You are welcome!", "You are welcome! Is there anything else?"], ["The user thanks me."]),
    (["Bye", "Goodbye!", "See you later.", "Good night", "bye bye", "See you!"],
     ["Goodbye! Have a nice day."], ["The user says goodbye."]),
    (["Can you think?", "Do you think before you answer?", "What is thinking?", "Do you reason?"],
     ["Yes. I can write down short reasoning before I answer.", ], ["The user asks about my reasoning."]),
    (["Tell me a joke.", "Do you know a joke?", "Make me laugh.", "A joke, please.", "Say something funny."],
     ["Why did the computer go to the doctor? It had a virus.", "What do you call a fish without eyes? A fsh.",
      "Why was six afraid of seven? Because seven eight nine."], ["The user wants a joke. I know one."]),
]
UNKNOWN = ["Who won the game yesterday?", "What is the stock price of {n}?", "What is my password?", "Where did I put my keys?",
           "Who will win the next election?", "What did {n} eat for breakfast?", "What is the phone number of {n}?",
           "How old is {n}?", "What will happen tomorrow?", "What am I thinking?", "What is the meaning of {z}?",
           "Who is {n} {z}?", "What is a {z}?", "When was {z} built?", "Explain {z} to me.", "Who invented the {z}?",
           "Tell me about {z}.", "Where is {z}?", "What happened in {z} last week?", "What does {z} mean?"]
UNKNOWN_EVAL = ["What is the email address of {n}?", "Do you know what {z} is?"]
NO_IDEA = ["I do not know that. I am only a small demo model.", "Sorry, I do not know. I am a tiny model and know very little."]

ZH_ABOUT = [(["你好", "你好！", "您好", "嗨", "早上好"], ["你好！我是 Kimi Nano。有什么可以帮你？"], "用户在打招呼。"),
            (["你是谁？", "你叫什么名字？", "请介绍一下自己。", "你是什么模型？"],
             ["我是 Kimi Nano，一个很小的演示模型。"], "用户问我是谁。"),
            (["谢谢", "谢谢你！", "多谢"], ["不客气！"], "用户在道谢。"),
            (["你会做什么？", "你能做什么？"], ["我可以回答简单的问题、做小算术、调用工具。"], "用户问我会做什么。"),
            (["再见", "拜拜"], ["再见！"], "用户在告别。")]

# ----------------------------------------------------------------------------------------------- arithmetic


def held_out(a, op, b):
    return (a * 131 + b * 17 + ord(op)) % 11 == 0


def steps_of(a, op, b):
    """The worked steps (each 'x op y = z') and the result."""
    s = []
    if op == "+":
        if a >= 10 and b >= 10:
            t, o = a // 10 * 10 + b // 10 * 10, a % 10 + b % 10
            s = [f"{a // 10 * 10} + {b // 10 * 10} = {t}", f"{a % 10} + {b % 10} = {o}", f"{t} + {o} = {a + b}"]
        elif a >= 10 or b >= 10:
            big, small = max(a, b), min(a, b)
            o = big % 10 + small
            s = [f"{big % 10} + {small} = {o}", f"{big // 10 * 10} + {o} = {a + b}"]
        return s, a + b
    if op == "-":
        if a < b:
            s, r = steps_of(b, "-", a)
            return [f"{b} is larger than {a}"] + s + [f"{b} - {a} = {r}"], -r
        if b >= 10:
            m = a - b // 10 * 10
            s = [f"{a} - {b // 10 * 10} = {m}", f"{m} - {b % 10} = {a - b}"]
        return s, a - b
    if op == "*":
        if a >= 10 and b >= 10:
            p = [(x, y, x * y) for x in (a // 10 * 10, a % 10) for y in (b // 10 * 10, b % 10)]
            s = [f"{x} * {y} = {z}" for x, y, z in p]
            t = p[0][2]
            for _, _, z in p[1:]:
                s.append(f"{t} + {z} = {t + z}")
                t += z
        elif a >= 10 or b >= 10:
            big, small = max(a, b), min(a, b)
            x, y = big // 10 * 10 * small, big % 10 * small
            s = [f"{big // 10 * 10} * {small} = {x}", f"{big % 10} * {small} = {y}", f"{x} + {y} = {a * b}"]
        return s, a * b
    return [f"{b} * {a // b} = {a}"], a // b


ARITH = {"+": ["What is {a} + {b}?", "{a}+{b}", "{a} + {b}", "{a} + {b} = ?", "Compute {a} + {b}.", "Add {a} and {b}.", "What is {a} plus {b}?",
               "How much is {a} + {b}?", "Calculate {a} + {b}", "{a} plus {b}", "What's {a}+{b}?", "Please add {a} and {b}.", "Sum of {a} and {b}?"],
         "-": ["What is {a} - {b}?", "{a}-{b}", "{a} - {b}", "{a} - {b} = ?", "Compute {a} - {b}.", "Subtract {b} from {a}.", "What is {a} minus {b}?",
               "How much is {a} - {b}?", "Calculate {a} - {b}", "{a} minus {b}", "What's {a}-{b}?", "Take {b} away from {a}."],
         "*": ["What is {a} * {b}?", "{a}*{b}", "{a} * {b}", "{a} * {b} = ?", "Compute {a} * {b}.", "Multiply {a} by {b}.", "What is {a} times {b}?",
               "How much is {a} * {b}?", "Calculate {a} x {b}", "{a} times {b}", "What's {a}x{b}?", "Multiply {a} and {b}.", "What is {a} × {b}?"],
         "/": ["What is {a} / {b}?", "{a}/{b}", "Divide {a} by {b}.", "What is {a} divided by {b}?", "Compute {a} / {b}."]}
ARITH_EVAL = {"+": ["Can you add {a} and {b}?", "Tell me what {a} + {b} is."], "-": ["Can you compute {a} minus {b}?", "Tell me what {a} - {b} is."],
              "*": ["Can you multiply {a} by {b}?", "Tell me what {a} * {b} is."], "/": ["Tell me what {a} / {b} is."]}
STORY = {"+": ["{n} has {a} {o} and buys {b} more. How many {o} does {n} have now?", "There are {a} {o} in a box and {b} {o} in a bag. How many are there in all?",
               "{n} found {a} {o} today and {b} {o} yesterday. How many {o} is that?", "I have {a} {o} and get {b} more. How many do I have?"],
         "-": ["{n} has {a} {o} and gives away {b}. How many {o} are left?", "There are {a} {o} and {b} are lost. How many are left?",
               "I had {a} {o} and used {b}. How many do I have left?", "{n} had {a} {o} and sold {b}. How many remain?"],
         "*": ["There are {a} boxes with {b} {o} each. How many {o} are there?", "{n} buys {a} bags with {b} {o} in each bag. How many {o} is that?",
               "{a} children have {b} {o} each. How many {o} do they have together?"]}
STORY_EVAL = {"+": ["{n} owns {a} {o} and receives {b} more. How many {o} does {n} have?"], "-": ["{n} had {a} {o} and lost {b} of them. How many are left?"],
              "*": ["There are {a} shelves with {b} {o} each. How many {o} are there?"]}


def draw(r, op, test):
    while True:
        if op == "+" or op == "-":
            k = r.random()
            if k < .15: a, b = r.randint(0, 10), r.randint(0, 10)
            elif k < .35: a, b = r.randint(10, 99), r.randint(1, 9)
            else: a, b = r.randint(10, 99), r.randint(10, 99)
            if op == "+" and r.random() < .3: a, b = b, a
            if op == "-" and a < b and r.random() < .8: a, b = b, a
        elif op == "*":
            k = r.random()
            if k < .4: a, b = r.randint(1, 10), r.randint(1, 10)
            elif k < .85: a, b = r.randint(10, 99), r.randint(2, 9)
            else: a, b = r.randint(11, 99), r.randint(11, 99)
            if r.random() < .3: a, b = b, a
        else:
            b = r.randint(1, 10)
            a = b * r.randint(1, 10)
        small = a <= 10 and b <= 10 or op == "/"
        if small and (not test or r.random() < 0.1) or not small and held_out(a, op, b) == test:
            return a, b


def arithmetic(r, test=False, known=False):
    op = r.choices("+-*/", [40, 28, 28, 4])[0]
    a, b = draw(r, op, test)
    if known: test = False  # held-out numbers in a phrasing of the training
    story = op != "/" and a > 1 and b > 1 and (op != "-" or a > b) and r.random() < .15
    user = r.choice((STORY_EVAL if test else STORY)[op] if story else (ARITH_EVAL if test else ARITH)[op])
    if not story and a <= 10 and b <= 10 and r.random() < .1:
        user = user.format(a=WORDS[a], b=WORDS[b]) if user.count(" ") > 2 and op in "+-" else user
    object_ = r.choice(OBJECTS)
    user = user.format(a=a, b=b, n=r.choice(NAMES), o=object_)
    steps, result = steps_of(a, op, b)
    final = f"{a} {op} {b} = {result}"
    think = ". ".join(steps + [final]) + "."
    if story:
        think = {"+": "I need to add. ", "-": "I need to subtract. ", "*": "I need to multiply. "}[op] + think
    answer = f"{final}." if not story else f"{final}. The answer is {result} {object_}."
    plain = (", ".join(steps) + ", so " if steps else "") + answer
    digits = " and ".join(sorted(("1" if x < 10 else "2" for x in (a, b)), reverse=True))
    return dict(user=user, think=think, content=answer, plain=plain, expect=str(result), sub=("word problem " if story else f"digits {digits}: ") + op)


# ----------------------------------------------------------------------------------------------- small talk, facts, lists


def capital(r, test=False):
    country, city, continent, zh, zhc = r.choice(COUNTRIES)
    k = r.random()
    if test or k < .55:
        t = r.choice(["Can you tell me the capital of {c}?", "Which city is the capital of {c}?"] if test else
                     ["What is the capital of {c}?", "Capital of {c}?", "capital of {c}", "Name the capital of {c}.", "What's the capital city of {c}?",
                      "Tell me the capital of {c}.", "What is {c}'s capital?", "The capital of {c} is?", "Do you know the capital of {c}?", "what is the capital city of {c}"])
        think = r.choice([f"The user asks for the capital of {country}. It is {city}.", f"The capital of {country} is {city}."])
        return dict(user=t.format(c=country), think=think, content=f"The capital of {country} is {city}.", expect=city, sub="capital", country=country)
    if k < .7:
        t = r.choice(["Which country has the capital {k}?", "{k} is the capital of which country?", "Which country has {k} as its capital?"])
        return dict(user=t.format(k=city), think=f"{city} is the capital of {country}.", content=f"{city} is the capital of {country}.", expect=country, sub="country")
    if k < .85:
        t = r.choice(["On which continent is {c}?", "In which continent is {c}?", "Where is {c}?", "Which continent is {c} in?"])
        verb = "are" if country in ("the Netherlands", "the Philippines") else "is"
        name = country[0].upper() + country[1:]
        return dict(user=t.format(c=country), think=f"{name} {verb} in {continent}.", content=f"{name} {verb} in {continent}.", expect=continent, sub="continent")
    t = r.choice(["Give me the capital of {c} as JSON.", "Capital of {c} as JSON", "Return JSON with the capital of {c}.", "Answer in JSON: what is the capital of {c}?"])
    out = json.dumps({"country": country.replace("the ", ""), "capital": city})
    return dict(user=t.format(c=country), think=f"The capital of {country} is {city}. I will answer in JSON.", content=out, expect=city, sub="json")


def fact(r, test=False):
    if not test and r.random() < .3 or test and r.random() < .2:
        x, y = r.choice(ANTONYMS)
        t = "Which word is the opposite of {x}?" if test else r.choice(["What is the opposite of {x}?", "Opposite of {x}?", "Give me the opposite of {x}.", "What's the antonym of {x}?"])
        return dict(user=t.format(x=x), think=f"The opposite of {x} is {y}.", content=f"The opposite of {x} is {y}.", expect=y, sub="opposite")
    questions, short, full = r.choice(FACTS)
    q = questions[-1] if test else r.choice(questions[:-1])
    return dict(user=q, think=r.choice(["I know this. ", "This is a simple fact. ", ""]) + full, content=full, expect=short, sub="fact")


def about(r, test=False):
    if test:
        questions, answers, think = r.choice(ABOUT[:7])
        return dict(user=questions[-1], think=r.choice(think), content=answers[0], expect=answers, sub="identity")
    questions, answers, think = r.choice(ABOUT)
    return dict(user=r.choice(questions[:-1]), think=r.choice(think), content=r.choice(answers), sub="identity")


ZED = "za zor blax qui plin tor mek vu dra fen gol nim pex ruk sto wim yar lo bri cha".split()


RARE = []  # lower-case words of the Shakespeare text


def made_up(r, n=None):
    """A word that the model cannot know: it has to be copied."""
    if RARE and n is None and r.random() < .35:
        return r.choice(RARE)
    if r.random() < .5:
        return "".join(r.choice("bcdfghjklmnprstvwz") + r.choice("aeiou") + r.choice(["", "", "n", "r", "s", "l", "t"]) for _ in range(r.randint(1, 4)))
    return "".join(r.choice(ZED) for _ in range(n or r.randint(2, 3)))


def unknown(r, test=False):
    t = r.choice(UNKNOWN_EVAL if test else UNKNOWN)
    return dict(user=t.format(n=r.choice(NAMES), z=made_up(r)), think=r.choice(["I do not know this. I should say so.", "I have no information about this. I will be honest."]),
                content=r.choice(NO_IDEA), expect="know", sub="refusal")


def join_and(items):
    return ", ".join(items[:-1]) + " and " + items[-1] if len(items) > 1 else items[0]


def listing(r, test=False):
    k = r.random()
    if k < .3:
        a = r.randint(0, 30); b = a + r.randint(2, 12)
        t = r.choice(["Can you count from {a} to {b}?"] if test else ["Count from {a} to {b}.", "count from {a} to {b}", "List the numbers from {a} to {b}.", "Please count from {a} to {b}.", "Write the numbers {a} to {b}."])
        out = ", ".join(map(str, range(a, b + 1)))
        return dict(user=t.format(a=a, b=b), think=f"I start at {a} and stop at {b}.", content=out + ".", expect=out, sub="count")
    if k < .42:
        b = r.randint(0, 20); a = b + r.randint(2, 12)
        t = r.choice(["Can you count down from {a} to {b}?"] if test else ["Count down from {a} to {b}.", "Count backwards from {a} to {b}.", "count down from {a} to {b}"])
        out = ", ".join(map(str, range(a, b - 1, -1)))
        return dict(user=t.format(a=a, b=b), think=f"I start at {a} and go down to {b}.", content=out + ".", expect=out, sub="count down")
    if k < .75 or test:
        what, n = r.choice(list(SETS)), r.randint(2, 6)
        items = r.sample(SETS[what], n)
        as_json = r.random() < .3
        number = r.choice([WORDS[n], str(n)])
        t = r.choice(["Can you name {n} {w}?"] if test else ["List {n} {w}.", "Name {n} {w}.", "Give me {n} {w}.", "Tell me {n} {w}.", "{n} {w}, please"])
        user = t.format(n=number, w=what)
        user = user[0].upper() + user[1:]
        if as_json:
            user = user.rstrip(".?") + (" as a JSON array?" if test else r.choice([" as JSON.", " as a JSON array.", " as a JSON list."]))
            return dict(user=user, think=f"I need {n} {what} in a JSON array.", content=json.dumps(items), expect=[what, n], sub="list json")
        out = "\n".join(f"{i + 1}. {x}" for i, x in enumerate(items))
        return dict(user=user, think=f"I need {n} {what}.", content=out, expect=[what, n], sub="list")
    if k < .83:
        what, items = r.choice([("days of the week", DAYS), ("months of the year", MONTHS), ("planets", PLANETS), ("seasons", ["spring", "summer", "autumn", "winter"])])
        t = r.choice(["List the {w}.", "Name the {w}.", "What are the {w}?", "Tell me the {w}."])
        return dict(user=t.format(w=what), think=f"The user wants the {what}.", content=", ".join(items) + ".", sub="list")
    if k < .92:
        seq = r.choice([DAYS, MONTHS]); i = r.randrange(len(seq)); after = r.random() < .6
        other = seq[(i + (1 if after else -1)) % len(seq)]
        kind = "day" if seq is DAYS else "month"
        w = "after" if after else "before"
        t = r.choice(["What {k} comes {w} {x}?", "Which {k} comes {w} {x}?", "Which {k} is {w} {x}?"])
        return dict(user=t.format(k=kind, w=w, x=seq[i]), think=f"The {kind} {w} {seq[i]} is {other}.", content=f"{other} comes {w} {seq[i]}.", sub="order")
    a, b = r.sample(range(1, 100), 2)
    bigger = r.random() < .5
    t = r.choice(["Which is {w}, {a} or {b}?", "Which number is {w}: {a} or {b}?", "What is {w}, {a} or {b}?"])
    w = r.choice(["larger", "bigger"]) if bigger else "smaller"
    x, y = (max(a, b), min(a, b)) if bigger else (min(a, b), max(a, b))
    return dict(user=t.format(w=w, a=a, b=b), think=f"I compare {a} and {b}. {x} is {w} than {y}.", content=f"{x} is {w} than {y}.", sub="compare")


def as_json(r, test=False):
    k = r.random()
    if k < .6:
        keys = [("name", r.choice(NAMES)), ("age", r.randint(1, 90)), ("city", r.choice(CITIES)), ("color", r.choice(COLORS)), ("pet", r.choice(ANIMALS)), ("count", r.randint(1, 99))]
        pick = sorted(r.sample(range(len(keys)), r.randint(2, 3)))
        pairs = [keys[i] for i in pick]
        said = join_and([f"{a} {b}" for a, b in pairs])
        t = "I need a JSON object that has {s}." if test else r.choice(["Give me a JSON object with {s}.", "Make JSON with {s}.", "Write a JSON object with {s}.", "Return JSON: {s}", "JSON object with {s}, please."])
        out = json.dumps(dict(pairs))
        return dict(user=t.format(s=said), think="I will put the values into a JSON object.", content=out, expect=dict(pairs), sub="json")
    n, city = r.choice(NAMES), r.choice(CITIES)
    age = r.randint(5, 90)
    t = "Turn this sentence into JSON: {n} is {a} years old and lives in {c}." if test else r.choice(
        ["Extract name, age and city as JSON: {n} is {a} years old and lives in {c}.", "Convert to JSON: {n}, {a} years old, lives in {c}.", "Extract the data as JSON: {n} from {c} is {a} years old."])
    out = {"name": n, "age": age, "city": city}
    return dict(user=t.format(n=n, a=age, c=city), think=f"The name is {n}, the age is {age} and the city is {city}.", content=json.dumps(out), expect=out, sub="json extract")


def repeat(r, test=False):
    vocabulary = RARE if r.random() < .4 else ANIMALS + FRUITS + COLORS + NAMES + CITIES + OBJECTS + ["the", "a", "very", "my", "has", "is", "old", "new", "good", "big"]
    s = " ".join(r.choice(vocabulary) for _ in range(r.randint(2, 6)))
    if r.random() < .3: s += " " + made_up(r)
    if r.random() < .4:
        n = r.choice(NAMES)
        t = r.choice(["My name is {n}.", "I am {n}.", "Hi, I am {n}.", "Hello, my name is {n}."])
        name = n if r.random() < .7 else made_up(r).capitalize()
        return dict(user=t.format(n=name), think=f"The user is called {name}. I will greet {name}.", content=f"Nice to meet you, {name}!", expect=name, sub="name")
    t = "Can you repeat this: {s}" if test else r.choice(["Repeat after me: {s}", "Say: {s}", "Please repeat: {s}", "Repeat: {s}", "Write this: {s}"])
    return dict(user=t.format(s=s), think="I repeat the text.", content=s, expect=s, sub="repeat")


def story(r, test=False):
    animal, name, friend = r.choice(ANIMALS), r.choice(NAMES), r.choice(ANIMALS)
    adj, adj2 = r.choice(["little", "brave", "clever", "shy", "happy", "lazy", "old", "young", "curious"]), r.choice(["kind", "funny", "wise", "gentle", "quick"])
    place, thing = r.choice(["forest", "garden", "village", "mountain", "river", "house", "sea", "town"]), r.choice(["ball", "key", "hat", "book", "star", "flower", "stone", "boat", "bell", "coin"])
    k = r.random()
    if k < .6:
        opening = r.choice([f"Once upon a time, there was a {adj} {animal} named {name}.", f"There was once a {adj} {animal} called {name}.", f"{name} was a {adj} {animal}."])
        live = r.choice([f"{name} lived near the {place}.", f"{name} lived in a small house by the {place}.", f"Every day {name} walked to the {place}."])
        find = r.choice([f"One day {name} found a {r.choice(COLORS)} {thing}.", f"One morning {name} lost a {thing} and looked for it everywhere.", f"One day {name} saw a {r.choice(['shiny', 'big', 'tiny', 'strange'])} {thing} on the way."])
        meet = r.choice([f"A {adj2} {friend} came and asked, \"What do you have there?\"", f"Then a {adj2} {friend} came by and wanted to help.", f"{name} met a {adj2} {friend} and they began to talk."])
        act = r.choice([f"They played with the {thing} until the sun went down.", f"Together they carried the {thing} home.", f"{name} gave the {thing} to the {friend} as a gift.", f"They shared the {thing} and laughed a lot."])
        end = r.choice(["From that day on they were good friends.", f"And {name} was very happy.", "In the evening they went home and slept well.", f"{name} never forgot that day."])
        t = r.choice(["Write a short story about a {a}.", "Tell me a story about a {a}.", "A story about a {a}, please.", "Can you tell a story about a {a}?", "Write a story with a {a}."]) if not test else "Please tell me a little story about a {a}."
        if r.random() < .15: t = r.choice(["Tell me a story.", "Write a short story.", "Tell me a short story."])
        return dict(user=t.format(a=animal), think=r.choice([f"I will write a short story about a {animal}.", f"The story needs a {animal} and a friend. I will name the {animal} {name}."]),
                    content=" ".join([opening, live, find, meet, act, end]), expect=animal, sub="story")
    subject = r.choice(["rain", "snow", "the sea", "the moon", "spring", "winter", "night", "the wind", "home", "a river", "the stars"])
    first, second = r.choice([("light", "night"), ("day", "way"), ("sky", "high"), ("sea", "free"), ("blue", "true"), ("tree", "me"), ("sleep", "deep"), ("song", "long"), ("air", "fair"), ("near", "clear")]), \
        r.choice([("rain", "again"), ("ground", "sound"), ("hill", "still"), ("heart", "apart"), ("snow", "slow"), ("door", "floor"), ("friend", "end"), ("hand", "land")])
    lines = [r.choice(["I think of {s} and the {x},", "Oh {s}, so gentle in the {x},", "When I see {s} and the {x},"]).format(s=subject, x=first[0]),
             r.choice(["it stays with me, so {y},", "it comes to me, {y},", "and all the world is {y},"]).format(y=first[1]),
             r.choice(["it touches softly every {x},", "I hear it calling to the {x},", "I follow it and find the {x},"]).format(x=second[0]),
             r.choice(["and then I know the {y}.", "and brings me to the {y}.", "and everything is {y}."]).format(y=second[1])]
    t = r.choice(["Write a poem about {s}.", "Write a short poem about {s}.", "A poem about {s}, please.", "Can you write a poem about {s}?"])
    return dict(user=t.format(s=subject), think=f"I will write four lines about {subject}.", content="\n".join(lines), sub="poem")


SHAKESPEARE = []


def bard(r):
    passage = r.choice(SHAKESPEARE)
    t = r.choice(["Write some lines like Shakespeare.", "Speak like Shakespeare.", "Write a short scene like Shakespeare.", "Give me a few lines in the style of Shakespeare.", "Write something in the style of Shakespeare."])
    return dict(user=t, think="I will write a few lines in the old style.", content=passage, sub="bard")


def chinese(r, test=False):
    k = r.random()
    if k < .35:
        q, a, th = r.choice(ZH_ABOUT)
        return dict(user=r.choice(q), think=th, content=r.choice(a), expect=a[0], sub="zh about")
    if k < .65:
        c = r.choice([c for c in COUNTRIES if c[3]])
        t = "你知道{c}的首都是哪里吗？" if test else r.choice(["{c}的首都是哪里？", "{c}的首都是什么？", "{c}的首都？", "请问{c}的首都是哪里？"])
        return dict(user=t.format(c=c[3]), think=f"{c[3]}的首都是{c[4]}。", content=f"{c[3]}的首都是{c[4]}。", expect=c[4], sub="zh capital")
    op = r.choice("+-*")
    a, b = (r.randint(1, 9), r.randint(1, 9)) if op == "*" else (r.randint(1, 40), r.randint(1, 40))
    if op == "-" and a < b: a, b = b, a
    steps, result = steps_of(a, op, b)
    t = r.choice(["{a} {w} {b} 等于多少？", "{a} {w} {b} 是多少？", "计算 {a} {op} {b}", "{a} {op} {b} = ?"])
    final = f"{a} {op} {b} = {result}"
    return dict(user=t.format(a=a, b=b, op=op, w={"+": "加", "-": "减", "*": "乘以"}[op]), think=". ".join(steps + [final]) + "。",
                content=final + "。", plain=(", ".join(steps) + "，所以 " if steps else "") + final + "。", expect=str(result), sub="zh arithmetic")


# ----------------------------------------------------------------------------------------------- tools

TOOLS = {  # name: descriptions, list of parameter sets (name, type, descriptions)
    "get_weather": (["Get the current weather for a location.", "Get the weather", "Returns the weather in a city.", "Get current weather information"],
                    [[("location", "string", ["City name", "The city", "The location"])]] * 4 + [[("city", "string", ["City name", "The city"])]]),
    "calculator": (["Evaluate an arithmetic expression.", "A calculator", "Calculates the value of an expression."],
                   [[("expression", "string", ["The expression", "Expression to evaluate", "For example 2 + 2"])]]),
    "search": (["Search the web.", "Search for information.", "Web search", "Searches the internet for a query."],
               [[("query", "string", ["The search query", "What to search for", "Query"])]]),
    "get_time": (["Get the current time in a city.", "Returns the local time."], [[("location", "string", ["City name", "The city"])], [("city", "string", ["City name"])]]),
    "set_timer": (["Set a timer.", "Starts a timer."], [[("minutes", "integer", ["Number of minutes", "Minutes"])]]),
    "translate": (["Translate text into another language.", "Translates a text."], [[("text", "string", ["The text"]), ("language", "string", ["Target language"])]]),
}


def declare(r, names):
    """The declared tools as JSON text, and the parameter names chosen for each tool."""
    out, chosen = [], {}
    for n in names:
        descriptions, sets = TOOLS[n]
        params = r.choice(sets)
        chosen[n] = [p[0] for p in params]
        with_description = r.random() < .8
        props = {}
        for p, t, d in params:
            props[p] = {"description": r.choice(d), "type": t} if with_description else {"type": t}
            if with_description and r.random() < .4:
                props[p] = {"type": t, "description": props[p]["description"]}
        if n == "get_weather" and r.random() < .12:
            props["unit"] = {"enum": ["celsius", "fahrenheit"], "type": "string"}
        schema = {"type": "object", "properties": props, "required": [p[0] for p in params]}
        f = {"name": n, "description": r.choice(descriptions), "parameters": schema}
        if r.random() < .1: del schema["required"]
        out.append({"type": "function", "function": f})
    ordered = r.random() < .6
    separators = (",", ":") if r.random() < .9 else (", ", ": ")
    return json.dumps(out, sort_keys=ordered, separators=separators, ensure_ascii=False), chosen


def place(r):
    k = r.random()
    if k < .62: return r.choice(CITIES)
    if k < .93: return made_up(r).capitalize()
    return r.choice(["New", "San", "Port", "Saint", "Fort", "Lake", "Mount", "North"]) + " " + made_up(r).capitalize()


SKY = ["sunny", "cloudy", "rainy", "windy", "foggy", "snowy", "clear", "stormy", "partly cloudy", "light rain"]


def weather_result(r, city):
    t, sky = r.randint(-15, 40), r.choice(SKY)
    k = r.random()
    if k < .4: out = json.dumps({"temperature": t, "condition": sky})
    elif k < .55: out = json.dumps({"location": city, "temperature": t, "condition": sky}, ensure_ascii=False)
    elif k < .7: out = json.dumps({"temp_c": t, "sky": sky}, separators=(",", ":"))
    elif k < .85: out = f"{t}°C, {sky}"
    else: out = f"{sky}, {t} degrees"
    return out, t, sky


WEATHER_Q = ["What is the weather in {c}?", "How is the weather in {c}?", "Weather in {c}?", "weather {c}", "What's the weather like in {c}?", "Tell me the weather in {c}.", "Is it raining in {c}?",
             "How warm is it in {c}?", "What is the temperature in {c}?", "Do I need an umbrella in {c}?", "Check the weather in {c}, please.", "what is the weather in {c} today", "How cold is it in {c} today?"]
WEATHER_EVAL = ["Could you look up the weather in {c}?", "How does the weather look in {c} right now?"]
TOPICS_Q = ["population of {x}", "history of {x}", "height of {x}", "mayor of {x}", "weather records of {x}", "founder of {x}", "best food in {x}", "news about {x}", "length of {x}", "age of {x}", "price of {x}", "author of {x}"]


def expression(r):
    k = r.random()
    a, b, c = r.randint(2, 9999), r.randint(2, 999), r.randint(2, 99)
    if k < .55:
        op = r.choice("+-*/")
        if r.random() < .4: a = r.randint(2, 99)
        e = f"{a} {op} {b}"
    elif k < .7: e = f"({r.randint(2, 99)} {r.choice('+-')} {c}) * {r.randint(2, 20)}"
    elif k < .85: e = f"{r.randint(2, 99)} {r.choice('+-*')} {c} {r.choice('+-*')} {r.randint(2, 99)}"
    else: e = f"{r.randint(1, 99)}.{r.randint(1, 9)} * {c}"
    v = eval(e)
    v = round(v, 4)
    return e, str(int(v)) if v == int(v) else str(v)


CALC_Q = ["What is {e}?", "Calculate {e}.", "Compute {e}", "{e}", "{e} = ?", "How much is {e}?", "Please calculate {e}.", "what's {e}", "Evaluate {e}.", "Use the calculator: {e}"]
CALC_EVAL = ["I need the value of {e}.", "Can you work out {e}?"]
SEARCH_EVAL = ["Could you find out the {q}?", "Please look for the {q} on the web."]
SEARCH_Q = ["Search for {q}.", "Search the web for {q}.", "What is the {q}?", "Find the {q}.", "Look up the {q}.", "search {q}", "Can you search for the {q}?", "Tell me the {q}.", "Google the {q}."]
LANGUAGES = ["French", "German", "Spanish", "Italian", "Chinese", "Japanese"]


VERBS = "get find read check open send list show make load count plan start stop book order fetch play save move".split()
NOUNS = "price news file song room device stock message item user ticket color route recipe score level status photo report flight".split()
CUSTOM = {}  # name -> (verb, noun) of the made-up tool of the current document


def custom_tool(r):
    """Declares a tool that the model has never seen: its name and parameter have to be copied."""
    verb = r.choice(VERBS) if r.random() < .8 else made_up(r)
    noun = r.choice(NOUNS) if r.random() < .7 else made_up(r)
    name = r.choice([f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}", f"{verb}"])
    while name in TOOLS: name += "_" + made_up(r)
    param = r.choice(["name", "id", "text", "item", "value", "topic", "key", "title", noun, made_up(r)])
    CUSTOM.clear()
    CUSTOM[name] = (verb, noun)
    TOOLS[name] = ([f"{verb.capitalize()} the {noun}.", f"A tool to {verb} a {noun}.", f"{verb.capitalize()}s a {noun} by {param}."], [[(param, "string", [f"The {param}", f"{param} of the {noun}"])]])
    return name


def tool_use(r, name, test=False):
    """One use of a tool: user text, arguments by parameter position, result, reasoning before and after, the answer."""
    if name in CUSTOM:
        verb, noun = CUSTOM[name]
        x = r.choice([made_up(r), r.choice(NAMES), r.choice(ANIMALS + FRUITS), made_up(r) + " " + made_up(r), str(r.randint(1, 999)), place(r)])
        u = r.choice([f"Use {name} for {x}.", f"Call {name} with {x}.", f"{verb.capitalize()} the {noun} of {x}.", f"{verb} {noun} {x}", f"Please {verb} the {noun} for {x}.", f"Can you {verb} the {noun} {x}?", f"I need the {noun} of {x}.", f"What is the {noun} of {x}?"])
        v = r.choice([made_up(r), str(r.randint(1, 999)), "ok", made_up(r) + " " + made_up(r)])
        out = r.choice([v, json.dumps({"result": v}), json.dumps({noun: v})])
        return dict(user=u, args=[x], result=out, what=f"the {noun} of {x}", after=f"The tool says {v}.", answer=f"The {noun} of {x} is {v}.", expect=[v], short=x)
    if name == "get_weather":
        c = place(r)
        out, t, sky = weather_result(r, c)
        return dict(user=r.choice(WEATHER_EVAL if test else WEATHER_Q).format(c=c), args=[c], result=out, what=f"the weather in {c}",
                    after=f"The tool says {t} degrees and {sky}.", answer=f"It is {t} degrees and {sky} in {c}.", expect=[str(t), sky], short=c)
    if name == "calculator":
        e, v = expression(r)
        spaced = e if r.random() < .8 or test else e.replace(" ", "")
        out = v if r.random() < .6 else json.dumps({"result": v})
        return dict(user=r.choice(CALC_EVAL if test else CALC_Q).format(e=spaced), args=[e], result=out, what=f"the value of {e}",
                    after=f"The calculator says {v}.", answer=f"{e} = {v}.", expect=[v], short=e)
    if name == "search":
        x = r.choice([place(r), r.choice(COUNTRIES)[0], made_up(r).capitalize(), r.choice(PLANETS), made_up(r) + " " + made_up(r)])
        q = r.choice(TOPICS_Q).format(x=x)
        k = r.random()
        value = r.choice([f"{r.randint(1, 999)} {r.choice(['million', 'thousand', 'meters', 'years', 'km', 'dollars'])}", r.choice(NAMES) + " " + made_up(r).capitalize(), str(r.randint(1000, 2025)),
                          f"{r.choice(COLORS)} {r.choice(FRUITS)}"])
        if k < .4: out = f"The {q} is {value}."
        elif k < .7: out = json.dumps({"results": [{"title": q, "snippet": f"The {q} is {value}."}]}, ensure_ascii=False)
        else: out = f"1. {q}: {value}"
        return dict(user=r.choice(SEARCH_EVAL if test else SEARCH_Q).format(q=q), args=[q], result=out, what=f"the {q}",
                    after=f"The search found {value}.", answer=f"The {q} is {value}.", expect=[value], short=q)
    if name == "get_time":
        c = place(r); t = f"{r.randint(0, 23):02d}:{r.randint(0, 59):02d}"
        u = "Can you check the time in {c}?" if test else r.choice(["What time is it in {c}?", "Time in {c}?", "What is the time in {c}?", "Tell me the current time in {c}."])
        return dict(user=u.format(c=c), args=[c], result=r.choice([t, json.dumps({"time": t})]), what=f"the time in {c}", after=f"The tool says {t}.", answer=f"It is {t} in {c}.", expect=[t], short=c)
    if name == "set_timer":
        m = r.randint(1, 90)
        u = "I need a timer of {m} minutes." if test else r.choice(["Set a timer for {m} minutes.", "Timer for {m} minutes, please.", "Start a timer: {m} minutes", "Set a {m} minute timer."])
        return dict(user=u.format(m=m), args=[m], result=r.choice(["ok", "done", '{"status": "ok"}']), what=f"a timer for {m} minutes", after="The timer is set.", answer=f"The timer is set for {m} minutes.", expect=[str(m)], short=str(m))
    w, l = r.choice(ANIMALS + FRUITS + COLORS), r.choice(LANGUAGES)
    if r.random() < .4: w = "the " + w + " is " + r.choice(COLORS)
    v = " ".join(made_up(r) for _ in w.split())
    u = "How do I say {w} in {l}?" if test else r.choice(["Translate {w} into {l}.", "Translate {w} to {l}.", "What is {w} in {l}?"])
    return dict(user=u.format(w=w, l=l), args=[w, l], result=v, what=f"the translation of {w}", after=f"The tool says {v}.", answer=f"In {l}, {w} is {v}.", expect=[v], short=w)


WEIGHTS = {"get_weather": 31, "calculator": 23, "search": 20, "get_time": 6, "set_timer": 6, "translate": 5, "custom": 9}


def pick_tools(r, needed):
    n = r.choice([0, 0, 1, 1, 2, 2, 2, 3])
    others = [t for t in TOOLS if t not in needed]
    pool = r.sample([t for t in ("get_weather", "calculator", "search") if t not in needed], k=min(n, 3 - sum(t in ("get_weather", "calculator", "search") for t in needed))) if r.random() < .6 \
        else r.sample(others, min(n, len(others)))
    names = list(needed) + pool
    r.shuffle(names)
    return names


def before(r, name, use):
    return r.choice([f"The user wants {use['what']}. I will call {name}.", f"I need {use['what']}. The tool {name} can help.", f"I should use {name} for this."])


def tool_turn(r, messages, index, name, use, params, naming, intro=True):
    if intro:
        messages.append(dict(role="user", content=use["user"]))
    call = (f"functions.{name}:{index}", json.dumps(dict(zip(params[name], use["args"])), ensure_ascii=False))
    messages.append(dict(role="assistant", think=before(r, name, use), calls=[call]))
    messages.append(dict(role="tool", id=call[0], content=use["result"], name=name if naming else None))
    messages.append(dict(role="assistant", think=use["after"], content=use["answer"]))
    return index + 1


def tools_doc(r):
    k = r.random()
    thinking = r.random() < .75
    naming = r.random() < .15
    name = r.choices(list(WEIGHTS), WEIGHTS.values())[0]
    messages = system(r)
    if k < .14:  # two calls at once
        first = r.choices(["get_weather", "calculator", "get_time"], [6, 2, 1])[0]  # the most natural pairs
        second = first if r.random() < .7 else r.choice(["get_weather", "calculator", "search"])
        declared, params = declare(r, pick_tools(r, list(dict.fromkeys([first, second]))))
        a, b = tool_use(r, first), tool_use(r, second)
        if first == second == "get_weather":
            u = r.choice(["What is the weather in {a} and {b}?", "Compare the weather in {a} and {b}.", "Weather in {a} and in {b}?", "How is the weather in {a} and in {b}?", "Tell me the weather in {a} and {b}.", "Is it warmer in {a} or {b}?"]).format(a=a["short"], b=b["short"])
        elif first == second == "get_time":
            u = r.choice(["What time is it in {a} and {b}?", "Time in {a} and {b}?"]).format(a=a["short"], b=b["short"])
        elif first == second:
            u = r.choice(["What is {a} and what is {b}?", "Calculate {a} and {b}.", "Compute both: {a} and {b}"]).format(a=a["short"], b=b["short"])
        else:
            u = a["user"] + " " + r.choice(["", "And: ", "Also: "]) + b["user"]
        messages.append(dict(role="user", content=u))
        calls = [(f"functions.{n}:{i}", json.dumps(dict(zip(params[n], x["args"])), ensure_ascii=False)) for i, (n, x) in enumerate([(first, a), (second, b)])]
        messages.append(dict(role="assistant", think=f"I need {a['what']} and {b['what']}. " + ("I will make two calls." if r.random() < .7 else "That is two calls."), calls=calls))
        for (call_id, _), n, x in zip(calls, (first, second), (a, b)):
            messages.append(dict(role="tool", id=call_id, content=x["result"], name=n if naming else None))
        messages.append(dict(role="assistant", think=a["after"] + " " + b["after"], content=a["answer"] + " " + b["answer"]))
        return render(messages, declared, 0, thinking)
    if name == "custom": name = custom_tool(r)
    names = pick_tools(r, [name])
    if k < .26:  # a question that needs no tool, or whose tool is missing
        names = [n for n in names if n != "calculator"] or ["search"]
        declared, _ = declare(r, names)
        topic = r.choice([about, capital, listing, as_json, about, repeat, fact])
        missing = [n for n in ("get_weather", "get_time") if n not in names]
        if missing and r.random() < .3 and "search" not in names:
            use = tool_use(r, r.choice(missing))
            d = no_tool(r, use)
        else:
            d = topic(r)
        say(messages, d, thinking)
        return render(messages, declared, 0, thinking)
    turns = 1 if k < .72 else 2 if k < .92 else 3
    declared, params = declare(r, names)
    index = start = 0
    for t in range(turns):
        n = r.choice(names) if t else name
        use = tool_use(r, n)
        if t and n == previous and n in ("get_weather", "get_time") and r.random() < .6:
            use["user"] = r.choice(["And in {c}?", "And {c}?", "What about {c}?", "and in {c}", "How about {c}?", "Now {c}, please."]).format(c=use["short"])
        start = len(messages)
        if t and r.random() < .2:
            d = r.choice([about, capital, fact])(r)
            say(messages, d, thinking and t == turns - 1)
        else:
            index = tool_turn(r, messages, index, n, use, params, naming)
            previous = n
        if t == 0: previous = n
    return render(messages, declared, start, thinking)


def no_tool(r, use):
    return dict(user=use["user"], think=r.choice([f"I would need a tool to get {use['what']}, but I have none.", f"I cannot know {use['what']} without a tool."]),
                content=r.choice([f"I cannot check {use['what']}, because I have no tool for it.", f"Sorry, I have no tool to find {use['what']}."]), sub="no tool", expect="tool")


# ----------------------------------------------------------------------------------------------- documents


def system(r):
    k = r.random()
    if k > .5: return []
    if k < .3: return [dict(role="system", content=r.choice(SYSTEMS))]
    who = r.choice(["assistant", "chatbot", "buddy", "teacher", "robot", "expert", "guide", "companion", made_up(r), made_up(r) + " " + made_up(r)])
    text = r.choice(["You are a {a} {w}.", "You are {a} {w}.", "Act as a {a} {w}.", "You are the {a} {w} of {n}."]).format(
        a=r.choice(["helpful", "friendly", "kind", "funny", "serious", "smart", "polite", made_up(r)]), w=who, n=r.choice(NAMES))
    if r.random() < .5: text += " " + r.choice(["Answer briefly.", "Be polite.", "Answer in one sentence.", "Think step by step.", "Always be honest.", "Use tools if needed.", "Keep it short.", "Never " + made_up(r) + " the " + made_up(r) + "."])
    return [dict(role="system", content=text)]


def vary(r, text):
    k = r.random()
    if k < .06: text = text.lower()
    elif k < .12: text = text.rstrip("?.!")
    elif k < .16: text = text.rstrip(".") if text.endswith(".") else text
    elif k < .19 and text[0].isascii(): text = r.choice(["Please: ", "Hey, ", "Hi! ", "Kimi, ", "Hello. "]) + text
    elif k < .21: text = text + " "
    return text


def recall(r, name):
    user = r.choice(["What is my name?", "What's my name?", "Do you remember my name?", "Who am I?", "what is my name", "How am I called?"])
    if name:
        return dict(user=user, think=f"The user said the name {name} before.", content=f"Your name is {name}.")
    return dict(user=user, think="The user has not told me a name.", content="I do not know your name. You have not told me.")


def say(messages, d, thinking):
    messages.append(dict(role="user", content=d["user"]))
    messages.append(dict(role="assistant", think=d["think"], content=d["content"] if thinking else d.get("plain", d["content"])))


TOPICS = [(arithmetic, 30), (capital, 9), (fact, 8), (about, 12), (unknown, 5), (listing, 11), (as_json, 6), (repeat, 4), (story, 8), (chinese, 6), (bard, 1)]
FOCUS = [(arithmetic, 27), (capital, 7), (fact, 7), (about, 9), (unknown, 4), (listing, 15), (as_json, 10), (repeat, 10), (story, 5), (chinese, 6), (bard, 1)]


def chat_doc(r):
    thinking = r.random() < .65
    turns = r.choices([1, 2, 3, 4, 6, 9], [50, 22, 14, 8, 4, 2])[0]
    messages, start, previous, name = system(r), 0, None, None
    for t in range(turns):
        last = t == turns - 1
        if last and (name and r.random() < .6 or r.random() < .01):
            start = len(messages)
            say(messages, recall(r, name), thinking)
            break
        topic = r.choices([x for x, _ in TOPICS], [w for _, w in TOPICS])[0]
        if t and r.random() < .35: topic = previous
        if t == 0 and turns > 1 and r.random() < .08: topic = repeat
        d = topic(r)
        if r.random() < .03: d = no_tool(r, tool_use(r, r.choice(["get_weather", "get_time"])))
        if d["sub"] == "name": name = d["expect"]
        if t and topic is capital and previous is capital and d["sub"] == "capital" and r.random() < .5:
            d["user"] = r.choice(["And of {c}?", "What about {c}?", "And {c}?", "and of {c}", "How about {c}?"]).format(c=d["country"])
        elif topic not in (repeat, as_json, chinese):
            d["user"] = vary(r, d["user"])
        if last: start = len(messages)
        say(messages, d, thinking and last)
        previous = topic
    return render(messages, None, start, thinking)


def document(r):
    for name in CUSTOM: TOOLS.pop(name, None)
    CUSTOM.clear()
    return tools_doc(r) if r.random() < .36 else chat_doc(r)


# ----------------------------------------------------------------------------------------------- evaluation


def evaluation(seed):
    r = random.Random(seed)
    items = []

    def add(topic, d, thinking=True, tools=None, system_=None, **more):
        m = ([dict(role="system", content=system_)] if system_ else []) + [dict(role="user", content=d["user"])]
        items.append(dict(topic=topic, sub=d.get("sub"), thinking=thinking, tools=tools, messages=m, expect=d.get("expect"), **more))
    numbers = random.Random(seed + 5)
    for i in range(160): add("arithmetic", arithmetic(numbers, True), i % 4 != 3)
    for c in COUNTRIES:
        t = r.choice(["Can you tell me the capital of {c}?", "Which city is the capital of {c}?"]).format(c=c[0])
        add("capitals", dict(user=t, expect=c[1], sub="capital"), r.random() < .75)
    for i in range(40): add("facts", fact(r, True), i % 4 != 3)
    for i in range(14): add("identity", about(r, True), i % 2 == 0)
    for i in range(12): add("refusal", unknown(r, True))
    for i in range(30): add("lists", listing(r, True), i % 4 != 3)
    for i in range(24): add("json", as_json(r, True), i % 4 != 3)
    for i in range(16): add("repeat", repeat(r, True))
    for i in range(30): add("chinese", chinese(r, True))
    for i in range(6): add("story", story(r, True))
    for i in range(100):
        for name in CUSTOM: TOOLS.pop(name, None)
        CUSTOM.clear()
        sub = name = r.choices(list(WEIGHTS), WEIGHTS.values())[0]
        if name == "custom": name = custom_tool(r)
        use = tool_use(r, name, True)
        declared, params = declare(r, pick_tools(r, [name]))
        m = [dict(role="user", content=use["user"])]
        items.append(dict(topic="tool call", sub=sub, thinking=i % 4 != 3, tools=declared, messages=m, expect=[[name, dict(zip(params[name], use["args"]))]],
                          result=[use["result"]], answer=use["expect"]))
    for name in CUSTOM: TOOLS.pop(name, None)
    CUSTOM.clear()
    for i in range(24):
        a, b = place(r), place(r)
        ra, ta, sa = weather_result(r, a)
        rb, tb, sb = weather_result(r, b)
        declared, params = declare(r, pick_tools(r, ["get_weather"]))
        p = params["get_weather"][0]
        m = [dict(role="user", content=f"I would like to know the weather in {a} and {b}.")]
        items.append(dict(topic="two tool calls", sub="get_weather", thinking=i % 4 != 3, tools=declared, messages=m,
                          expect=[["get_weather", {p: a}], ["get_weather", {p: b}]], result=[ra, rb], answer=[str(ta), sa, str(tb), sb]))
    for i in range(24):
        d = [about, capital, fact][i % 3](r, True)
        add("no tool needed", d, True, declare(r, pick_tools(r, ["get_weather"]))[0])
    for i in range(20):
        c = r.sample(COUNTRIES, 2)
        items.append(dict(topic="follow-up", sub="capital", thinking=i % 4 != 3, tools=None, expect=c[1][1], messages=[
            dict(role="user", content=f"What is the capital of {c[0][0]}?"), dict(role="assistant", content=f"The capital of {c[0][0]} is {c[0][1]}."),
            dict(role="user", content=r.choice(["And of {c}?", "What about {c}?", "And what about {c}?"]).format(c=c[1][0]))]))
    return items


def evaluation_known(seed):
    """Prompts in phrasings of the training, with fresh values (arithmetic: held-out pairs of numbers)."""
    r = random.Random(seed)
    items = []

    def add(topic, d, i):
        items.append(dict(topic=topic, sub=d.get("sub"), thinking=i % 4 != 3, tools=None, messages=[dict(role="user", content=d["user"])], expect=d["expect"]))
    numbers = random.Random(seed + 5)
    for i in range(100): add("arithmetic", arithmetic(numbers, True, True), i)
    for topic, make, n in (("capitals", capital, 40), ("facts", fact, 40), ("lists", listing, 40), ("json", as_json, 24), ("repeat", repeat, 24),
                           ("chinese", chinese, 30), ("refusal", unknown, 20), ("identity", about, 30)):
        for i in range(n):
            d = make(r)
            if topic == "identity":
                d["expect"] = next(x[1] for x in ABOUT if d["content"] in x[1])
            elif d.get("expect") is None: d["expect"] = d["content"]
            add(topic, d, i)
    for i in range(100):
        for name in CUSTOM: TOOLS.pop(name, None)
        CUSTOM.clear()
        sub = name = r.choices(list(WEIGHTS), WEIGHTS.values())[0]
        if name == "custom": name = custom_tool(r)
        use = tool_use(r, name)
        declared, params = declare(r, pick_tools(r, [name]))
        items.append(dict(topic="tool call", sub=sub, thinking=i % 4 != 3, tools=declared, messages=[dict(role="user", content=use["user"])],
                          expect=[[name, dict(zip(params[name], use["args"]))]], result=[use["result"]], answer=use["expect"]))
    for name in CUSTOM: TOOLS.pop(name, None)
    CUSTOM.clear()
    return items


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--shakespeare", default="data/input.txt")
    p.add_argument("--out", default="data")
    p.add_argument("--docs", type=int, default=135000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--focus", action="store_true", help="the mix of the last part of the training: more copying, counting and JSON")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    text = open(a.shakespeare, encoding="utf-8").read()
    cut = text.rindex("\n\n", 0, int(len(text) * .95)) + 2
    train, test = text[:cut], text[cut:]
    open(os.path.join(a.out, "shakespeare_train.txt"), "w").write(train)
    open(os.path.join(a.out, "shakespeare_eval.txt"), "w").write(test)
    speeches = train.split("\n\n")
    for i in range(0, len(speeches) - 3, 2):
        passage = "\n\n".join(speeches[i:i + 2]).strip()
        if 100 < len(passage) < 420: SHAKESPEARE.append(passage)
    r = random.Random(a.seed)
    if a.focus: TOPICS[:] = FOCUS
    words = sorted(set(w for w in train.lower().replace("\n", " ").split(" ") if w.isalpha() and w.isascii() and 3 <= len(w) <= 12))
    RARE.extend(words)
    with open(os.path.join(a.out, "docs.jsonl"), "w") as f, open(os.path.join(a.out, "sample.txt"), "w") as sample:
        for i in range(a.docs):
            d = document(r)
            f.write(json.dumps(d, ensure_ascii=False) + "\n")
            if i < 9000: sample.write("".join(s for s, _ in d) + "\n")
    if not a.focus:
        items = [dict(phrasing="held out", **x) for x in evaluation(a.seed + 1000)] + [dict(phrasing="trained", **x) for x in evaluation_known(a.seed + 2000)]
        json.dump(items, open(os.path.join(a.out, "eval_prompts.json"), "w"), ensure_ascii=False, indent=1)


if __name__ == "__main__":
    main()
