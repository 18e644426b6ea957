// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>Reads PTX text as LLVM writes it. Whatever it does not know is a fault, never skipped.</summary>
internal sealed partial class PtxModule
{
    private readonly Dictionary<string, int> _sharedSymbols = [];
    private readonly Dictionary<string, PtxKernel> _kernels = [];

    public PtxModule(string text)
    {
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            string line = WithoutComment(lines[i]);
            if (line.StartsWith(".version ", StringComparison.Ordinal))
            {
                Version = (int)(decimal.Parse(line[9..], CultureInfo.InvariantCulture) * 10);
            }
            else if (line.StartsWith(".target ", StringComparison.Ordinal))
            {
                Target = line[8..];
            }
            else if (SharedDeclaration().Match(line) is { Success: true } shared)
            {
                _sharedSymbols.Add(shared.Groups[2].Value, shared.Groups[3].Value.Length == 0 ? 0 : int.Parse(shared.Groups[3].Value, CultureInfo.InvariantCulture));
            }
            else if (Entry().Match(line) is { Success: true } entry)
            {
                i = ReadKernel(entry.Groups[1].Value, lines, i + 1);
            }
            else if (line.Length > 0 && !line.StartsWith(".address_size 64", StringComparison.Ordinal) && line is not "}")
            {
                throw new PtxFault($"line {i + 1}: `{line}` is not understood");
            }
        }
    }

    /// <summary>Ten times the PTX version.</summary>
    public int Version { get; }

    public string Target { get; } = "";

    public IReadOnlyDictionary<string, PtxKernel> Kernels => _kernels;

    private static string WithoutComment(string line)
    {
        int comment = line.IndexOf("//", StringComparison.Ordinal);
        return (comment < 0 ? line : line[..comment]).Trim();
    }

    private int ReadKernel(string name, string[] lines, int at)
    {
        var builder = new PtxKernelBuilder(name, _sharedSymbols);
        for (; WithoutComment(lines[at]) is not ")"; at++)
        {
            Match parameter = Parameter().Match(WithoutComment(lines[at]));
            if (!parameter.Success)
            {
                throw new PtxFault($"line {at + 1}: `{lines[at]}` is no parameter that is understood");
            }

            builder.AddParameter(parameter.Groups[4].Value, parameter.Groups[1].Value, parameter.Groups[2].Value, parameter.Groups[5].Value);
        }

        for (at++; WithoutComment(lines[at]) is not "{"; at++)
        {
            builder.AddLimit(WithoutComment(lines[at]));
        }

        for (at++; WithoutComment(lines[at]) is not "}"; at++)
        {
            string line = WithoutComment(lines[at]);

            // A scope of LLVM's own, in one line; its registers get unique names.
            if (line.StartsWith("{ ", StringComparison.Ordinal) && line.EndsWith('}'))
            {
                line = line[2..^1].Replace("tmp", $"%tmp{at}", StringComparison.Ordinal);
            }

            foreach (string statement in line.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
            {
                if (SharedDeclaration().Match(statement) is { Success: true } shared)
                {
                    _sharedSymbols.Add(shared.Groups[2].Value, int.Parse(shared.Groups[3].Value, CultureInfo.InvariantCulture));
                }
                else
                {
                    builder.Add(statement, at + 1);
                }
            }
        }

        _kernels.Add(name, builder.Build(Version));
        return at;
    }

    [GeneratedRegex(@"^(?:\.weak |\.extern )?\.shared \.align (\d+) \.b8 (\S+?)\[(\d*)\];?$")]
    private static partial Regex SharedDeclaration();

    [GeneratedRegex(@"^\.visible \.entry (\w+)\($")]
    private static partial Regex Entry();

    [GeneratedRegex(@"^\.param (?:\.align (\d+) )?\.([a-z]+\d+) (\.ptr )?(\w+)(?:\[(\d+)\])?,?$")]
    private static partial Regex Parameter();
}

/// <summary>Collects the statements of one kernel and lays out its register file.</summary>
internal sealed class PtxKernelBuilder(string name, IReadOnlyDictionary<string, int> sharedSymbols)
{
    private const int Lanes = 32;

    private readonly List<PtxParameter> _parameters = [];
    private readonly Dictionary<string, (int Base, int Bytes)> _registerFiles = [];
    private readonly Dictionary<string, int> _labels = [];
    private readonly Dictionary<string, int> _sharedOffsets = [];
    private readonly List<(string Text, int Line)> _statements = [];
    private readonly MemoryStream _constants = new();
    private readonly Dictionary<(ulong, int), int> _constantPlaces = [];
    private int _parameterBytes;
    private int _registerBytes;
    private int _sharedBytes;
    private int _maxThreads = 1024;

    public void AddParameter(string parameter, string align, string type, string count)
    {
        int size = int.Parse(type[1..], CultureInfo.InvariantCulture) / 8;
        int alignment = align.Length > 0 ? int.Parse(align, CultureInfo.InvariantCulture) : size;
        int bytes = count.Length > 0 ? size * int.Parse(count, CultureInfo.InvariantCulture) : size;
        _parameterBytes = (_parameterBytes + alignment - 1) / alignment * alignment;
        _parameters.Add(new PtxParameter(parameter, _parameterBytes, bytes));
        _parameterBytes += bytes;
    }

    public void AddLimit(string limit)
    {
        if (limit.StartsWith(".maxntid ", StringComparison.Ordinal))
        {
            _maxThreads = int.Parse(limit[9..].Split(',')[0], CultureInfo.InvariantCulture);
        }
        else if (limit.Length > 0 && !limit.StartsWith(".minnctapersm ", StringComparison.Ordinal))
        {
            throw new PtxFault($"{name}: `{limit}` is not understood");
        }
    }

    public void Add(string statement, int line)
    {
        if (statement.StartsWith(".reg ", StringComparison.Ordinal))
        {
            AddRegisters(statement);
        }
        else if (statement.EndsWith(':'))
        {
            _labels.Add(statement[..^1], _statements.Count);
        }
        else if (statement.Contains(':', StringComparison.Ordinal) && statement.StartsWith('$'))
        {
            int colon = statement.IndexOf(':', StringComparison.Ordinal);
            _labels.Add(statement[..colon], _statements.Count);
            Add(statement[(colon + 1)..].Trim(), line);
        }
        else if (!statement.StartsWith(".pragma", StringComparison.Ordinal))
        {
            _statements.Add((statement, line));
        }
    }

    public PtxKernel Build(int version)
    {
        // Registers lie behind the constants, and dynamic shared memory behind the static: code is decoded until both are known.
        PtxInstruction[] code;
        int constantBytes;
        do
        {
            constantBytes = (int)_constants.Length;
            code = [.. _statements.Select((s, i) => Decode(s.Text, s.Line, i, constantBytes, version))];
        }
        while (constantBytes != _constants.Length);

        int special = constantBytes + _registerBytes;
        return new PtxKernel
        {
            Name = name,
            Parameters = _parameters,
            ParameterBytes = _parameterBytes,
            Code = code,
            SharedBytes = _sharedBytes,
            MaxThreads = _maxThreads,
            Constants = _constants.ToArray(),
            SpecialRegisters = [.. Enum.GetValues<SpecialRegister>().Select(s => special + ((int)s * Lanes * sizeof(uint)))],
            RegisterBytes = special + (Enum.GetValues<SpecialRegister>().Length * Lanes * sizeof(uint)),
        };
    }

    private void AddRegisters(string statement)
    {
        Match match = Regex.Match(statement, @"^\.reg \.(\w+)\s+(%?\w+?)(?:<(\d+)>)?$");
        if (!match.Success)
        {
            throw new PtxFault($"{name}: `{statement}` is not understood");
        }

        // Narrow registers and predicates (a bit for each lane) get the room of 32 bits a lane.
        int bytes = match.Groups[1].Value is "b64" or "u64" or "s64" or "f64" ? Lanes * sizeof(ulong) : Lanes * sizeof(uint);
        int count = match.Groups[3].Success ? int.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture) : 1;
        _registerFiles.Add(match.Groups[2].Value, (_registerBytes, bytes));
        _registerBytes += bytes * count;
    }

    private unsafe PtxInstruction Decode(string statement, int line, int index, int registers, int version)
    {
        string text = statement;
        int guard = -1;
        bool negated = false;
        if (text[0] == '@')
        {
            int space = text.IndexOfAny([' ', '\t']);
            negated = text[1] == '!';
            guard = Register(text[(negated ? 2 : 1)..space], registers);
            text = text[space..].Trim();
        }

        int end = text.IndexOfAny([' ', '\t']);
        string opcode = end < 0 ? text : text[..end];
        List<string> operands = end < 0 ? [] : Split(text[end..]);
        if (!PtxInstructionSet.Known.TryGetValue(opcode, out PtxForm? form))
        {
            throw new PtxFault($"{name}, PTX line {line}: instruction `{opcode}` of `{statement}` is not in the table");
        }

        if (form.MinimumVersion > version)
        {
            throw new PtxFault($"{name}, PTX line {line}: `{opcode}` needs PTX {form.MinimumVersion / 10.0:F1}, the module says {version / 10.0:F1}");
        }

        var instruction = new PtxInstruction { Text = statement, Line = line, Index = index, Flow = form.Flow, Execute = form.Execute, Guard = guard, GuardNegated = negated };
        form.Bind(instruction, operands, new OperandReader(this, registers));
        return instruction;
    }

    private static List<string> Split(string operands)
    {
        var result = new List<string>();
        int depth = 0;
        int start = 0;
        for (int i = 0; i < operands.Length; i++)
        {
            depth += operands[i] is '{' or '[' ? 1 : operands[i] is '}' or ']' ? -1 : 0;
            if (operands[i] == ',' && depth == 0)
            {
                result.Add(operands[start..i].Trim());
                start = i + 1;
            }
        }

        result.Add(operands[start..].Trim());
        return result;
    }

    private int Register(string register, int registers)
    {
        (int start, int bytes, int index) = Find(register);
        return registers + start + (index * bytes);
    }

    private (int Base, int Bytes, int Index) Find(string register)
    {
        if (_registerFiles.TryGetValue(register, out (int Base, int Bytes) single))
        {
            return (single.Base, single.Bytes, 0);
        }

        int digits = register.Length;
        while (digits > 0 && char.IsAsciiDigit(register[digits - 1]))
        {
            digits--;
        }

        return _registerFiles.TryGetValue(register[..digits], out (int Base, int Bytes) file)
            ? (file.Base, file.Bytes, int.Parse(register[digits..], CultureInfo.InvariantCulture))
            : throw new PtxFault($"{name}: register {register} is not declared");
    }

    private int Constant(ulong value, int bytes)
    {
        if (!_constantPlaces.TryGetValue((value, bytes), out int place))
        {
            place = (int)_constants.Length;
            _constantPlaces.Add((value, bytes), place);
            for (int l = 0; l < Lanes; l++)
            {
                _constants.Write(MemoryMarshal.AsBytes([value])[..bytes]);
            }
        }

        return place;
    }

    private ulong? SymbolAddress(string symbol)
    {
        if (_parameters.Find(p => p.Name == symbol) is { Name: not null } parameter)
        {
            return (ulong)parameter.Offset;
        }

        if (!sharedSymbols.TryGetValue(symbol, out int bytes))
        {
            return null;
        }

        // Dynamic shared memory has no size of its own; its address is known when all static ones are.
        if (!_sharedOffsets.TryGetValue(symbol, out int offset))
        {
            if (bytes == 0)
            {
                return (ulong)_sharedBytes;
            }

            offset = _sharedBytes;
            _sharedOffsets.Add(symbol, offset);
            _sharedBytes += (bytes + 15) / 16 * 16;
        }

        return (ulong)offset;
    }

    /// <summary>Turns the text of operands into places in the register file.</summary>
    internal sealed class OperandReader(PtxKernelBuilder builder, int registers)
    {
        /// <summary>A register, or a constant of so many bytes.</summary>
        public int Read(string operand, int bytes)
        {
            if (SpecialPlace(operand) is { } special)
            {
                return registers + builder._registerBytes + ((int)special * Lanes * sizeof(uint));
            }

            if (operand[0] == '%')
            {
                return builder.Register(operand, registers);
            }

            return builder.Constant(Value(operand), bytes);
        }

        /// <summary>The registers of {a, b, …}, or of a single one.</summary>
        public int[] ReadAll(string operand, int bytes) =>
            operand[0] == '{' ? [.. operand[1..^1].Split(',').Select(o => Read(o.Trim(), bytes))] : [Read(operand, bytes)];

        /// <summary>[register], [register+offset], [symbol+offset] or [address].</summary>
        public (int Base, long Offset) ReadAddress(string operand, int bytes)
        {
            string inner = operand[1..^1];
            int plus = inner.IndexOf('+', StringComparison.Ordinal);
            return plus < 0
                ? (Read(inner, bytes), 0)
                : (Read(inner[..plus], bytes), long.Parse(inner[(plus + 1)..], CultureInfo.InvariantCulture));
        }

        /// <summary>Whether it is a register of 64 bits.</summary>
        public bool IsWide(string operand) => operand[0] == '%' && SpecialPlace(operand) is null && builder.Find(operand).Bytes == Lanes * sizeof(ulong);

        public int Label(string label) =>
            builder._labels.TryGetValue(label, out int target) ? target : throw new PtxFault($"{builder._statements[0]}: label {label} is unknown");

        private static SpecialRegister? SpecialPlace(string operand) => operand switch
        {
            "%tid.x" => SpecialRegister.ThreadX,
            "%ntid.x" => SpecialRegister.ThreadCountX,
            "%ctaid.x" => SpecialRegister.BlockX,
            "%ctaid.y" => SpecialRegister.BlockY,
            "%ctaid.z" => SpecialRegister.BlockZ,
            "%nctaid.x" => SpecialRegister.GridX,
            "%nctaid.y" => SpecialRegister.GridY,
            "%nctaid.z" => SpecialRegister.GridZ,
            _ => null,
        };

        private ulong Value(string operand)
        {
            if (builder.SymbolAddress(operand) is { } address)
            {
                return address;
            }

            if (operand.StartsWith("0f", StringComparison.OrdinalIgnoreCase))
            {
                return Convert.ToUInt32(operand[2..], 16);
            }

            if (operand.StartsWith("0x", StringComparison.OrdinalIgnoreCase))
            {
                return Convert.ToUInt64(operand[2..], 16);
            }

            return long.TryParse(operand, CultureInfo.InvariantCulture, out long value)
                ? (ulong)value
                : throw new PtxFault($"operand {operand} is not understood");
        }
    }
}
