// Copyright (c) KimiCpu contributors.
// Licensed under the MIT License.

using System.Numerics;

namespace KimiCpu.Tests.Cuda.Simulation;

/// <summary>One form of an instruction: what it does, how its operands are read, and the first PTX version that has it.</summary>
internal sealed unsafe class PtxForm(int minimumVersion, delegate*<PtxInstruction, PtxWarp, uint, void> execute, Action<PtxInstruction, List<string>, PtxKernelBuilder.OperandReader> bind, PtxFlow flow = PtxFlow.Straight)
{
    public int MinimumVersion { get; } = minimumVersion;

    public delegate*<PtxInstruction, PtxWarp, uint, void> Execute { get; } = execute;

    public Action<PtxInstruction, List<string>, PtxKernelBuilder.OperandReader> Bind { get; } = bind;

    public PtxFlow Flow { get; } = flow;
}

/// <summary>
/// The instructions that kernels may use, each with the PTX version it came with (PTX ISA manual, "PTX ISA Notes" of each
/// instruction). The compiler does not check inline PTX against the version, so this table does.
/// </summary>
internal static unsafe partial class PtxInstructionSet
{
    public static IReadOnlyDictionary<string, PtxForm> Known { get; } = Make();

    private static Dictionary<string, PtxForm> Make()
    {
        var known = new Dictionary<string, PtxForm>
        {
            ["bra"] = new(10, null, (i, o, r) => i.Target = r.Label(o[0]), PtxFlow.Branch),
            ["bra.uni"] = new(10, null, (i, o, r) => i.Target = r.Label(o[0]), PtxFlow.Branch),
            ["ret"] = new(10, null, (_, _, _) => { }, PtxFlow.Return),
            ["bar.sync"] = new(10, null, (_, _, _) => { }, PtxFlow.Barrier),
            ["bar.warp.sync"] = new(60, &BarWarp, (_, _, _) => { }, PtxFlow.WarpWide),

            ["membar.sys"] = new(20, &FenceSystem, (_, _, _) => { }),

            ["mov.f32"] = Map1<Same<uint>, uint, uint>(10),
            ["mov.u32"] = Map1<Same<uint>, uint, uint>(10),
            ["mov.u16"] = Map1<Same<uint>, uint, uint>(10),
            ["mov.b16"] = Map1<Same<uint>, uint, uint>(10),
            ["mov.u64"] = Map1<Same<ulong>, ulong, ulong>(10),
            ["mov.b64"] = Map1<Same<ulong>, ulong, ulong>(10),
            ["mov.b32"] = new(10, &MoveOrSplit, BindMove),
            ["mov.pred"] = Predicates(10, &MovePredicate, 1),
            ["and.pred"] = Predicates(10, &AndPredicate, 2),
            ["or.pred"] = Predicates(10, &OrPredicate, 2),
            ["not.pred"] = Predicates(10, &NotPredicate, 1),
            ["cvta.to.global.u64"] = Map1<Same<ulong>, ulong, ulong>(20),

            ["cvt.u32.u64"] = Map1<Narrow, ulong, uint>(10),
            ["cvt.u64.u32"] = Map1<Widen, uint, ulong>(10),
            ["cvt.u16.u32"] = Map1<Low16, uint, uint>(10),
            ["cvt.u32.u16"] = Map1<Low16, uint, uint>(10),
            ["cvt.s32.s8"] = Map1<SignedLow8, uint, int>(10),
            ["cvt.rn.f32.s32"] = Map1<SignedToFloat, int, float>(10),
            ["cvt.rni.s32.f32"] = Map1<FloatToNearest, float, int>(10),
            ["cvt.rn.f32.u32"] = Map1<UnsignedToFloat, uint, float>(10),
            ["cvt.rn.f32.s16"] = Map1<Signed16ToFloat, uint, float>(10),
            ["cvt.rn.f16.f32"] = Map1<FloatToHalf, float, uint>(10),
            ["cvt.f32.f16"] = Map1<HalfToFloat, uint, float>(10),
            ["cvt.rn.bf16.f32"] = Map1<FloatToBFloat16, float, uint>(70),
            ["cvt.u64.u16"] = Map1<WidenLow16, uint, ulong>(10),
            ["cvt.rn.bf16x2.f32"] = Map2<FloatsToBFloat16Pair, float, float, uint>(70),
            ["fma.rn.bf16x2"] = Map3<FusedMultiplyAddBFloat16Pair, uint, uint, uint, uint>(70),
            ["neg.s32"] = Map1<NegateInteger, uint, uint>(10),
            ["neg.f32"] = Map1<NegateFloat, float, float>(10),
            ["abs.f32"] = Map1<AbsoluteFloat, float, float>(10),
            ["ex2.approx.f32"] = Map1<Exp2, float, float>(14),
            ["ex2.approx.ftz.f32"] = Map1<Exp2Flushed, float, float>(14),
            ["lg2.approx.f32"] = Map1<Log2, float, float>(14),
            ["rsqrt.approx.f32"] = Map1<InverseRoot, float, float>(14),

            ["add.f32"] = Vectors2<Add<float>, float>(10),
            ["sub.f32"] = Vectors2<Subtract<float>, float>(10),
            ["mul.f32"] = Vectors2<Multiply<float>, float>(10),
            ["add.rn.f32"] = Vectors2<Add<float>, float>(10),
            ["mul.rn.f32"] = Vectors2<Multiply<float>, float>(10),
            ["div.rn.f32"] = Map2<DivideFloat, float, float, float>(14),
            ["fma.rn.f32"] = new(20, &RunFusedMultiplyAdd, BindFusedMultiplyAdd),
            ["add.s32"] = Vectors2<Add<uint>, uint>(10),
            ["sub.s32"] = Vectors2<Subtract<uint>, uint>(10),
            ["mul.lo.s32"] = Vectors2<Multiply<uint>, uint>(10),
            ["mul.hi.u32"] = Map2<High32, uint, uint, uint>(10),
            ["mad.lo.s32"] = Map3<MultiplyAdd, uint, uint, uint, uint>(10),
            ["mul.wide.u32"] = Map2<Wide32, uint, uint, ulong>(10),
            ["mul.wide.u16"] = Map2<Wide16, uint, uint, uint>(10),
            ["div.u32"] = Map2<DivideUnsigned, uint, uint, uint>(10),
            ["min.u32"] = Map2<Minimum, uint, uint, uint>(10),
            ["max.u32"] = Map2<Maximum, uint, uint, uint>(10),
            ["min.u16"] = Map2<Minimum, uint, uint, uint>(10),
            ["min.s32"] = Map2<MinimumSigned, int, int, int>(10),
            ["max.s32"] = Map2<MaximumSigned, int, int, int>(10),
            ["max.f32"] = Map2<MaximumFloat, float, float, float>(10),
            ["add.s64"] = Vectors2<Add<ulong>, ulong>(10),
            ["sub.s64"] = Vectors2<Subtract<ulong>, ulong>(10),
            ["mul.lo.s64"] = Vectors2<Multiply<ulong>, ulong>(10),
            ["add.s16"] = Map2<Add16, uint, uint, uint>(10),
            ["sub.s16"] = Map2<Subtract16, uint, uint, uint>(10),
            ["mul.lo.s16"] = Map2<Multiply16, uint, uint, uint>(10),
            ["mul.hi.u16"] = Map2<High16, uint, uint, uint>(10),
            ["and.b32"] = Vectors2<And<uint>, uint>(10),
            ["or.b32"] = Vectors2<Or<uint>, uint>(10),
            ["xor.b32"] = Vectors2<Xor<uint>, uint>(10),
            ["not.b32"] = Map1<Not, uint, uint>(10),
            ["and.b64"] = Vectors2<And<ulong>, ulong>(10),
            ["xor.b64"] = Vectors2<Xor<ulong>, ulong>(10),
            ["or.b64"] = Vectors2<Or<ulong>, ulong>(10),
            ["or.b16"] = Vectors2<Or<uint>, uint>(10),
            ["and.b16"] = Vectors2<And<uint>, uint>(10),
            ["shl.b32"] = Map2<ShiftLeft, uint, uint, uint>(10),
            ["shr.u32"] = Map2<ShiftRight, uint, uint, uint>(10),
            ["shr.s32"] = Map2<ShiftRightSigned, int, uint, int>(10),
            ["shl.b64"] = Map2<ShiftLeft64, ulong, uint, ulong>(10),
            ["shr.u64"] = Map2<ShiftRight64, ulong, uint, ulong>(10),
            ["shl.b16"] = Map2<ShiftLeft16, uint, uint, uint>(10),
            ["shr.u16"] = Map2<ShiftRight16, uint, uint, uint>(10),
            ["bfe.s32"] = Map3<ExtractSigned, int, uint, uint, int>(20),
            ["bfe.u32"] = Map3<ExtractBits, uint, uint, uint, uint>(20),
            ["dp4a.u32.s32"] = Map3<DotBytes, uint, uint, int, int>(50),
            ["prmt.b32"] = Map3<PickBytes, uint, uint, uint, uint>(20),
            ["selp.b32"] = Select<uint>(10),
            ["selp.u16"] = Select<uint>(10),
            ["selp.u32"] = Select<uint>(10),
            ["selp.f32"] = Select<uint>(10),
            ["selp.b64"] = Select<ulong>(10),

            ["setp.eq.s32"] = Compare<Equal<uint>, uint>(10),
            ["setp.eq.s16"] = Compare<Equal<uint>, uint>(10),
            ["setp.eq.b32"] = Compare<Equal<uint>, uint>(10),
            ["setp.ne.s32"] = Compare<NotEqual<uint>, uint>(10),
            ["setp.lt.s32"] = Compare<Less<int>, int>(10),
            ["setp.gt.s32"] = Compare<Greater<int>, int>(10),
            ["setp.lt.u32"] = Compare<Less<uint>, uint>(10),
            ["setp.le.u32"] = Compare<LessOrEqual<uint>, uint>(10),
            ["setp.gt.u32"] = Compare<Greater<uint>, uint>(10),
            ["setp.ge.u32"] = Compare<GreaterOrEqual<uint>, uint>(10),
            ["setp.eq.s64"] = Compare<Equal<ulong>, ulong>(10),
            ["setp.ne.s64"] = Compare<NotEqual<ulong>, ulong>(10),
            ["setp.lt.u64"] = Compare<Less<ulong>, ulong>(10),
            ["setp.eq.f32"] = Compare<Equal<float>, float>(10),
            ["setp.neu.f32"] = Compare<NotEqual<float>, float>(10),
            ["setp.lt.f32"] = Compare<Less<float>, float>(10),
            ["setp.gt.f32"] = Compare<Greater<float>, float>(10),
            ["setp.leu.f32"] = Compare<NotGreater, float>(10),
            ["setp.geu.f32"] = Compare<NotLess, float>(10),
            ["setp.nan.f32"] = Compare<EitherNaN, float>(10),

            ["shfl.sync.bfly.b32"] = new(60, &ShuffleButterfly, BindShuffle, PtxFlow.WarpWide),
            ["shfl.sync.idx.b32"] = new(60, &ShuffleIndex, BindShuffle, PtxFlow.WarpWide),
            ["redux.sync.max.u32"] = new(70, &ReduceToMaximum, BindReduction, PtxFlow.WarpWide),
            ["redux.sync.min.u32"] = new(70, &ReduceToMinimum, BindReduction, PtxFlow.WarpWide),
            ["vote.sync.ballot.b32"] = new(60, &Ballot, BindBallot, PtxFlow.WarpWide),
            ["mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32"] = new(70, &MatrixMultiply, BindMatrixMultiply, PtxFlow.WarpWide),
            ["mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32"] = new(70, &MatrixMultiplyBytes, BindMatrixMultiply, PtxFlow.WarpWide),
            ["ldmatrix.sync.aligned.m8n8.x4.shared.b16"] = new(65, &LoadMatrix, BindLoadMatrix, PtxFlow.WarpWide),
            ["ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"] = new(65, &LoadMatrixTransposed, BindLoadMatrix, PtxFlow.WarpWide),
            ["cp.async.cg.shared.global"] = new(70, &CopyAsync, BindCopyAsync),
            ["cp.async.commit_group"] = new(70, &CommitCopies, (_, _, _) => { }),
            ["cp.async.wait_group"] = new(70, &WaitForCopies, (i, o, r) => i.Sources = [r.Read(o[0], 4)]),
            ["atom.global.add.u32"] = new(11, &AtomicAdd, BindAtomic),
        };
        AddMemory(known);
        return known;
    }

    private static void AddMemory(Dictionary<string, PtxForm> known)
    {
        known["ld.param.u32"] = new(15, &LoadParameter<uint, uint, Vector1>, BindLoad(1, 4, 8, &LoadParameter<uint, ulong, Vector1>));
        known["ld.param.f32"] = new(15, &LoadParameter<uint, uint, Vector1>, BindLoad(1, 4, 8, &LoadParameter<uint, ulong, Vector1>));
        known["ld.param.u64"] = new(15, &LoadParameter<ulong, ulong, Vector1>, BindLoad(1, 8, 8));
        known["ld.param.v2.u32"] = new(15, &LoadParameter<uint, uint, Vector2>, BindLoad(2, 4, 8));
        known["ld.global.f32"] = new(10, &Load<uint, uint, Vector1, GlobalSpace>, BindLoad(1, 4, 8));
        known["ld.global.u32"] = new(10, &Load<uint, uint, Vector1, GlobalSpace>, BindLoad(1, 4, 8, &Load<uint, ulong, Vector1, GlobalSpace>));
        known["ld.global.u64"] = new(10, &Load<ulong, ulong, Vector1, GlobalSpace>, BindLoad(1, 8, 8));
        known["ld.global.u16"] = new(10, &Load<ushort, uint, Vector1, GlobalSpace>, BindLoad(1, 4, 8, &Load<ushort, ulong, Vector1, GlobalSpace>));
        known["ld.global.s8"] = new(10, &LoadSignedByte<GlobalSpace>, BindLoad(1, 4, 8));
        known["ld.global.v2.u32"] = new(10, &Load<uint, uint, Vector2, GlobalSpace>, BindLoad(2, 4, 8));
        known["ld.global.v4.f32"] = new(10, &Load<uint, uint, Vector4, GlobalSpace>, BindLoad(4, 4, 8));
        known["ld.global.v4.u32"] = new(10, &Load<uint, uint, Vector4, GlobalSpace>, BindLoad(4, 4, 8));
        known["ld.global.nc.L1::no_allocate.v4.u32"] = new(74, &Load<uint, uint, Vector4, GlobalSpace>, BindLoad(4, 4, 8));
        known["prefetch.global.L2"] = new(20, &Prefetch, (i, o, r) => (i.Base, i.Offset) = r.ReadAddress(o[0], 8));
        known["ld.shared.f32"] = new(10, &Load<uint, uint, Vector1, SharedSpace>, BindLoad(1, 4, 8));
        known["ld.shared.u32"] = new(10, &Load<uint, uint, Vector1, SharedSpace>, BindLoad(1, 4, 8, &Load<uint, ulong, Vector1, SharedSpace>));
        known["ld.shared.u16"] = new(10, &Load<ushort, uint, Vector1, SharedSpace>, BindLoad(1, 4, 8));
        known["ld.shared.v2.u32"] = new(10, &Load<uint, uint, Vector2, SharedSpace>, BindLoad(2, 4, 8));
        known["ld.shared.v2.f32"] = new(10, &Load<uint, uint, Vector2, SharedSpace>, BindLoad(2, 4, 8));
        known["ld.shared.v4.f32"] = new(10, &Load<uint, uint, Vector4, SharedSpace>, BindLoad(4, 4, 8));
        known["ld.shared.v4.u32"] = new(10, &Load<uint, uint, Vector4, SharedSpace>, BindLoad(4, 4, 8));
        known["st.global.f32"] = new(10, &Store<uint, uint, Vector1, GlobalSpace>, BindStore(4, 8));
        known["st.global.u32"] = new(10, &Store<uint, uint, Vector1, GlobalSpace>, BindStore(4, 8));
        known["st.global.u16"] = new(10, &Store<ushort, uint, Vector1, GlobalSpace>, BindStore(4, 8));
        known["st.global.u8"] = new(10, &Store<byte, uint, Vector1, GlobalSpace>, BindStore(4, 8));
        known["st.global.v2.f32"] = new(10, &Store<uint, uint, Vector2, GlobalSpace>, BindStore(4, 8));
        known["st.global.v4.u32"] = new(10, &Store<uint, uint, Vector4, GlobalSpace>, BindStore(4, 8));
        known["st.volatile.global.u32"] = new(11, &RaiseFlag, BindStore(4, 8));
        known["st.shared.f32"] = new(10, &Store<uint, uint, Vector1, SharedSpace>, BindStore(4, 8));
        known["st.shared.u32"] = new(10, &Store<uint, uint, Vector1, SharedSpace>, BindStore(4, 8));
        known["st.shared.u16"] = new(10, &Store<ushort, uint, Vector1, SharedSpace>, BindStore(4, 8));
        known["st.shared.u64"] = new(10, &Store<ulong, ulong, Vector1, SharedSpace>, BindStore(8, 8));
        known["st.shared.v2.f32"] = new(10, &Store<uint, uint, Vector2, SharedSpace>, BindStore(4, 8));
        known["st.shared.v4.f32"] = new(10, &Store<uint, uint, Vector4, SharedSpace>, BindStore(4, 8));
        known["st.shared.v4.u32"] = new(10, &Store<uint, uint, Vector4, SharedSpace>, BindStore(4, 8));
    }

    private static PtxForm Map1<TOperation, TA, TD>(int version)
        where TOperation : struct, IOperation1<TA, TD>
        where TA : unmanaged
        where TD : unmanaged =>
        new(version, &Run1<TOperation, TA, TD>, (i, o, r) => (i.Destinations, i.Sources) = ([r.Read(o[0], sizeof(TD))], [r.Read(o[1], sizeof(TA))]));

    private static PtxForm Map2<TOperation, TA, TB, TD>(int version)
        where TOperation : struct, IOperation2<TA, TB, TD>
        where TA : unmanaged
        where TB : unmanaged
        where TD : unmanaged =>
        new(version, &Run2<TOperation, TA, TB, TD>, (i, o, r) => (i.Destinations, i.Sources) = ([r.Read(o[0], sizeof(TD))], [r.Read(o[1], sizeof(TA)), r.Read(o[2], sizeof(TB))]));

    private static PtxForm Vectors2<TOperation, T>(int version)
        where TOperation : struct, IVectorOperation2<T>
        where T : unmanaged =>
        new(version, &RunVectors2<TOperation, T>, Map2<TOperation, T, T, T>(version).Bind);

    private static PtxForm Map3<TOperation, TA, TB, TC, TD>(int version)
        where TOperation : struct, IOperation3<TA, TB, TC, TD>
        where TA : unmanaged
        where TB : unmanaged
        where TC : unmanaged
        where TD : unmanaged =>
        new(version, &Run3<TOperation, TA, TB, TC, TD>, (i, o, r) => (i.Destinations, i.Sources) = ([r.Read(o[0], sizeof(TD))], [r.Read(o[1], sizeof(TA)), r.Read(o[2], sizeof(TB)), r.Read(o[3], sizeof(TC))]));

    private static PtxForm Compare<TOperation, T>(int version)
        where TOperation : struct, IComparison<T>
        where T : unmanaged =>
        new(version, &RunComparison<TOperation, T>, (i, o, r) => (i.Destinations, i.Sources) = ([r.Read(o[0], 4)], [r.Read(o[1], sizeof(T)), r.Read(o[2], sizeof(T))]));

    private static PtxForm Select<T>(int version)
        where T : unmanaged =>
        new(version, &RunSelect<T>, (i, o, r) => (i.Destinations, i.Sources) = ([r.Read(o[0], sizeof(T))], [r.Read(o[1], sizeof(T)), r.Read(o[2], sizeof(T)), r.Read(o[3], 4)]));

    private static PtxForm Predicates(int version, delegate*<PtxInstruction, PtxWarp, uint, void> execute, int sources) =>
        new(version, execute, (i, o, r) => (i.Destinations, i.Sources) = ([r.Read(o[0], 4)], [.. o.Skip(1).Take(sources).Select(s => s == "-1" ? r.Read("4294967295", 4) : r.Read(s, 4))]));

    private static Action<PtxInstruction, List<string>, PtxKernelBuilder.OperandReader> BindLoad(int count, int valueBytes, int addressBytes, delegate*<PtxInstruction, PtxWarp, uint, void> widening = null) => (i, o, r) =>
    {
        // A load may extend its value into a wider register.
        if (valueBytes < sizeof(ulong) && count == 1 && r.IsWide(o[0]))
        {
            i.Execute = widening != null ? widening : throw new PtxFault($"`{i.Text}`: a load into 64 bits that is not understood");
        }

        i.Destinations = r.ReadAll(o[0], valueBytes);
        (i.Base, i.Offset) = r.ReadAddress(o[1], addressBytes);
        if (i.Destinations.Length != count)
        {
            throw new PtxFault($"`{i.Text}` loads {count} values into {i.Destinations.Length} registers");
        }
    };

    private static Action<PtxInstruction, List<string>, PtxKernelBuilder.OperandReader> BindStore(int valueBytes, int addressBytes) => (i, o, r) =>
    {
        (i.Base, i.Offset) = r.ReadAddress(o[0], addressBytes);
        if (valueBytes < sizeof(ulong) && r.IsWide(o[1]))
        {
            throw new PtxFault($"`{i.Text}`: a store from 64 bits that is not understood");
        }

        i.Sources = r.ReadAll(o[1], valueBytes);
    };

    private static void BindMove(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r) =>
        (i.Destinations, i.Sources) = (r.ReadAll(o[0], 4), r.ReadAll(o[1], 4));

    private static void BindFusedMultiplyAdd(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r) =>
        (i.Destinations, i.Sources) = ([r.Read(o[0], 4)], [r.Read(o[1], 4), r.Read(o[2], 4), r.Read(o[3], 4)]);

    private static void BindShuffle(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r)
    {
        if (o[3] != "31" || o[4] != "-1")
        {
            throw new PtxFault($"`{i.Text}`: only shuffles of a whole warp are understood");
        }

        (i.Destinations, i.Sources) = ([r.Read(o[0], 4)], [r.Read(o[1], 4), r.Read(o[2], 4)]);
    }

    /// <summary>Sources: values, the lanes that take part.</summary>
    private static void BindReduction(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r) =>
        (i.Destinations, i.Sources) = ([r.Read(o[0], 4)], [r.Read(o[1], 4), r.Read(o[2], 4)]);

    private static void BindBallot(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r) =>
        (i.Destinations, i.Sources) = ([r.Read(o[0], 4)], [r.Read(o[1], 4)]);

    private static void BindMatrixMultiply(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r) =>
        (i.Destinations, i.Sources) = (r.ReadAll(o[0], 4), [.. r.ReadAll(o[1], 4), .. r.ReadAll(o[2], 4), .. r.ReadAll(o[3], 4)]);

    private static void BindLoadMatrix(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r)
    {
        i.Destinations = r.ReadAll(o[0], 4);
        (i.Base, i.Offset) = r.ReadAddress(o[1], 4);
    }

    /// <summary>Sources: target, address, bytes to read.</summary>
    private static void BindCopyAsync(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r)
    {
        (int target, long targetOffset) = r.ReadAddress(o[0], 4);
        (i.Base, i.Offset) = r.ReadAddress(o[1], 8);
        if (o[2] != "16" || targetOffset != 0)
        {
            throw new PtxFault($"`{i.Text}`: only copies of 16 bytes are understood");
        }

        i.Sources = [target, r.Read(o.Count > 3 ? o[3] : "16", 4)];
    }

    private static void BindAtomic(PtxInstruction i, List<string> o, PtxKernelBuilder.OperandReader r)
    {
        i.Destinations = [r.Read(o[0], 4)];
        (i.Base, i.Offset) = r.ReadAddress(o[1], 8);
        i.Sources = [r.Read(o[2], 4)];
    }
}
